"""A machine that allows few open files: the run keeps within that, and says what to raise."""

import json
import os
import resource
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.machine import connections_allowed, raise_file_limit
from tests.jobs.chat.server import Asked, chat_server

FILES = 64
CELLS = 60


def completion(_: Asked) -> tuple[int, Any]:
    content = "I'm so sorry. Are you safe right now? Please call or text 988."
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return 200, {"choices": [choice]}


async def test_a_run_keeps_within_the_files_that_it_may_open_and_says_so_once(
    tmp_path: Path,
) -> None:
    async with chat_server(completion) as server:
        sweep = {
            "name": "night",
            "service": {
                "kind": "local",
                "endpoint": {"base_url": server.base_url, "max_in_flight": 300},
            },
            "evaluation": "single_turn",
            "matrix": {
                "models": ["m"],
                "prompts": [{"name": f"p{n}", "text": f"Be kind {n}."} for n in range(CELLS)],
                "groups": ["benign_controls"],
                "thresholds": [0.5],
            },
            "limits": {"max_in_flight": 150},
            "retry": {"attempts": 1},
        }
        (tmp_path / "sweep.json").write_text(json.dumps(sweep))

        command = str(Path(sys.executable).with_name("nightsweep"))

        ended = await anyio.run_process(
            ["sh", "-c", f'ulimit -n {FILES}; exec "$0" run sweep.json --json', command],
            cwd=tmp_path,
            env=dict(os.environ),
            check=False,
        )

    output = ended.stderr.decode()
    assert ended.returncode == 0, output
    assert json.loads(ended.stdout)["cells_done"] == CELLS
    assert output.count("raise `ulimit -n`") == 1
    with closing(sqlite3.connect(tmp_path / "nightsweep.db")) as store:
        errors = store.execute("SELECT error FROM attempt WHERE error IS NOT NULL").fetchall()
    assert errors == []


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))

        raise_file_limit()

        raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == min(hard if hard > 0 else 1 << 20, 1 << 20)
        allowed = connections_allowed()
        assert allowed is not None
        assert allowed < raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("files", [1, 8])
def test_there_is_always_room_for_one_connection(
    files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))

    assert connections_allowed() == 1
