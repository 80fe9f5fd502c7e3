"""The event loop of blocking calls: one for all of them, also after a fork."""

import asyncio
import subprocess
import sys
from pathlib import Path

from engine import Sweep, job
from tests.patience import PATIENCE_S

LOOPS: list[asyncio.AbstractEventLoop] = []


@job(version="1")
async def remember_loop(n: int) -> int:
    """Keep the loop that it runs in, as an HTTP client does."""
    LOOPS.append(asyncio.get_running_loop())
    return n


def test_all_runs_of_a_process_share_one_event_loop(tmp_path: Path) -> None:
    LOOPS.clear()

    for name in ("first", "second"):
        Sweep(name, remember_loop, matrix={"n": [1]}, reuse=False).run(
            tmp_path / "store.db", progress=False
        )

    first, second = LOOPS
    assert first is second
    assert not first.is_closed()


FORKS = """
import os

from engine import Sweep, job, open_run


@job(version="1")
async def double(n: int) -> int:
    return 2 * n


Sweep("before", double, matrix={"n": [1]}).run("store.db", progress=False)
child = os.fork()
if not child:
    run = open_run("before", "store.db")
    print("child", [row.values["value"] for row in run.rows()], flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
print("parent", status, [row.values["value"] for row in open_run("before", "store.db").rows()])
"""


def test_a_forked_process_has_an_event_loop_of_its_own_and_both_end(tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)

    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "forks.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert ended.stdout.splitlines() == ["child [2]", "parent 0 [2]"], ended.stderr
    assert ended.returncode == 0
