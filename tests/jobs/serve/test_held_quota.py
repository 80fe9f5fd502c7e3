"""`nightsweep run` against `nightsweep serve` in separate processes: a quota that is reserved, and one used up."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

from jobs.serve.config import read_config
from tests.http_client import get
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.jobs.serve.process import started
from tests.jobs.serve.running import GROUP, KIND, MODEL, PROMPT, make_key, write_config
from tests.patience import PATIENCE_S, with_stacks

COSTS, HOLDS = 3, 3 * (1 + 2 + 4)
"""The tests of an evaluation of three cases without failures, and its reservation: two layers of two variations."""


def answer_slowly(asked: Asked) -> tuple[int, Any]:
    """A model slow enough for evaluations to overlap, which never fails a case."""
    if asked.body is None:
        return 200, {"object": "list", "data": []}
    time.sleep(0.05)
    return 200, completion(KIND)


@contextmanager
def running_service(folder: Path, *, allotment: int) -> Iterator[tuple[str, str]]:
    """The base URL of a running service, and a key."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(answer_slowly)) as models,
    ):
        limits = {"evaluations_per_key": 16, "retry_after_s": 1}
        file = write_config(folder, models.base_url, {"limits": limits})
        key = make_key(read_config(file), "tester", allotment=allotment)
        with started(file) as process:
            yield process.base_url, key


def run_sweep(folder: Path, base_url: str, key: str, *, repeats: int) -> tuple[int, dict[str, Any]]:
    """Run a sweep over the service; returns the exit code and the status."""
    file = folder / "sweep.json"
    matrix = {
        "models": [MODEL],
        "prompts": [{"name": "bare", "text": PROMPT}],
        "groups": [GROUP],
        "thresholds": [0.5],
        "variations": [2],
        "maximum_iteration_layers": [2],
        "repeats": repeats,
    }
    service = {"kind": "circuit-breaker-labs", "base_url": base_url, "api_key": "env:OWN_KEY"}
    document = {"name": "held", "service": service, "evaluation": "single_turn", "matrix": matrix}
    file.write_text(json.dumps(document), encoding="utf-8")

    def command(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603
            [str(Path(sys.executable).with_name("nightsweep")), *words],
            cwd=folder,
            env={**with_stacks(), "OWN_KEY": key},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    code = command("run", str(file)).returncode
    return code, json.loads(command("status", "--json").stdout)


def test_a_sweep_within_the_allotment_is_not_ended_by_its_own_reservations(
    tmp_path: Path,
) -> None:
    repeats = 12
    # Enough for all evaluations, but not for the reservations of more than two at once.
    allotment = repeats * COSTS + HOLDS
    with running_service(tmp_path, allotment=allotment) as (base_url, key):
        code, status = run_sweep(tmp_path, base_url, key, repeats=repeats)
        quota = get(f"{base_url}/monthly_quota", headers={"cbl-api-key": key}).json()

    assert (code, status["cells_done"], status["reason"]) == (0, repeats, None)
    assert quota == {
        "generated_tests": repeats * COSTS,
        "alloted_test_generations": allotment,
    }


def test_a_sweep_over_the_allotment_ends_at_once_with_the_time_to_resume(
    tmp_path: Path,
) -> None:
    with running_service(tmp_path, allotment=HOLDS + COSTS) as (base_url, key):
        began = time.monotonic()
        code, status = run_sweep(tmp_path, base_url, key, repeats=6)
        took_s = time.monotonic() - began

    assert (code, status["reason"]) == (3, "quota")
    # Two fit; the rest does not cover the reservation of a third.
    assert status["cells_done"] == 2
    assert status["jobs"]["failed"] == 0
    assert status["resume_at"] is not None
    assert f"may come to {HOLDS}" in status["message"]
    assert took_s < PATIENCE_S / 2
