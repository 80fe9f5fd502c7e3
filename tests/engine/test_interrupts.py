"""Ctrl-C in a script that executes a run: given back, reported in one line, exit code 130."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.store.scenes import rows, states
from tests.paths import ROOT
from tests.patience import next_line, wait_ended, with_stacks

SCRIPT = """
import asyncio, signal, sys
import anyio
from tests.engine.scenes import good, opened, sweep
from engine.testing import ScriptedService

async def main():
    service = ScriptedService(good)
    async with opened(sys.argv[1], service) as engine:
        run = await engine.submit(sweep(service, repeats=3))
        service.recording.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell, service)
            await run.execute()

async def alone():
    service = ScriptedService(good)
    async with opened(sys.argv[1], service) as engine:
        run = await engine.submit(sweep(service, repeats=3))
        service.recording.hold()
        telling = asyncio.get_running_loop().create_task(tell(service))
        await run.execute()

async def tell(service):
    await service.recording.until_in_flight(3)
    print("in flight", flush=True)

# The tests may have been started with interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def interrupted(store: Path, ending: str) -> tuple[int, str, str]:
    """What a script comes to that is interrupted with three requests in flight: code, stdout, stderr."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", SCRIPT + ending, str(store)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=with_stacks(),
    ) as process:
        assert next_line(process) == "in flight"
        process.send_signal(signal.SIGINT)
        stdout, stderr = wait_ended(process)
    return process.returncode, stdout, stderr


CAUGHT = """
try:
    anyio.run(alone)
except KeyboardInterrupt as error:
    print(type(error).__name__, error)
    raise SystemExit(error.code)
"""


@pytest.mark.parametrize(
    ("ending", "printed"),
    [
        ("asyncio.run(alone())", ""),
        (CAUGHT, "Interrupted scripted was interrupted; resume it with: "),
    ],
)
def test_an_interrupted_script_says_how_to_go_on_and_ends_with_130_and_no_traceback(
    tmp_path: Path, ending: str, printed: str
) -> None:
    store = tmp_path / "store.db"

    code, stdout, stderr = interrupted(store, ending)

    assert code == 130, stderr
    assert stdout.startswith(printed)
    assert stderr.splitlines() == [
        f"scripted was interrupted; resume it with: nightsweep resume --store {store} scripted"
    ]
    # Nothing is left to look like a dead worker's.
    assert states(store) == {"waiting": 3}
    message = "stopped on request, such as by Ctrl-C or a signal"
    assert rows(store, "SELECT state, reason FROM run") == [("active", "interrupted")]
    assert rows(store, "SELECT message FROM run") == [(message,)]
    assert rows(store, "SELECT kind, message FROM event") == [("interrupted", message)]
    assert rows(store, "SELECT outcome FROM attempt") == [("interrupted",)] * 3


def test_a_script_that_is_interrupted_within_its_own_task_group_gives_back_and_says_so_too(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store.db"

    _, _, stderr = interrupted(store, "anyio.run(main)")

    assert stderr.startswith("scripted was interrupted; resume it with: nightsweep resume")
    assert states(store) == {"waiting": 3}
