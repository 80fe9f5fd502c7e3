"""A reader that holds a transaction for minutes: it is named, and nothing is lost."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from engine import Settings
from engine.store.sqlite.readers import Reader, describe, find_readers, log_bytes
from engine.testing import ScriptedService
from tests.engine.scenes import events, good, opened, sweep
from tests.patience import PATIENCE_S, PAUSE_S, next_line

READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM job").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""


@contextmanager
def reading(store: Path) -> Iterator[int]:
    """A process in the middle of a read transaction; gives its id."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", READ, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert next_line(process) == "reading"
        yield process.pid
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
async def test_the_event_log_says_who_makes_the_stores_log_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.scheduler.watch.LOG_MAX_BYTES", 256 * 1024)
    store = tmp_path / "store.db"
    service = ScriptedService(good)
    of = sweep(service, models=["a", "b"], repeats=500)
    hasty = Settings(poll_s=0.05, heartbeat_s=0.05)
    logged: list[str] = []

    async with opened(store, service, settings=hasty) as engine:
        run = await engine.submit(of)
        with reading(store) as pid:
            async with anyio.create_task_group() as tasks:
                service.recording.hold()
                tasks.start_soon(run.execute)
                await service.recording.until_in_flight(16)
                service.recording.release()
                await service.recording.until_started(500)
                service.recording.hold()
                with anyio.fail_after(PATIENCE_S):
                    while not logged:
                        await anyio.sleep(PAUSE_S)
                        logged = [text for kind, _, text in await events(run) if kind == "storage"]
                service.recording.release()
        status = await run.status()
        while_read = log_bytes(store)
        again = await engine.submit(sweep(service, models=["a", "b"], repeats=1_000))
        await again.execute()
        afterwards = log_bytes(store)

    assert f"process {pid} (python" in logged[0]
    assert status.jobs["succeeded"] == 1_000
    # As many jobs more, and the log was restarted instead of growing on.
    assert afterwards < 1.5 * while_read


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
async def test_a_store_that_no_process_reads_has_no_readers(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        await engine.submit(sweep(service))
        alone = await to_thread.run_sync(find_readers, tmp_path / "store.db")
        with reading(tmp_path / "store.db") as pid:
            found = await to_thread.run_sync(find_readers, tmp_path / "store.db")

    assert alone == frozenset()
    assert found is not None
    assert [one.pid for one in found] == [pid]


def test_if_the_system_does_not_list_readers_a_command_that_does_is_named(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    Path(f"{store}-shm").touch()

    assert find_readers(store, tmp_path / "no-such-file") is None
    assert f"lsof {store}-wal" in describe(store, 300 * 1024**2, None)
    assert "300 MiB" in describe(store, 300 * 1024**2, None)
    assert "process 7 (sqlite3)" in describe(store, 1, frozenset({Reader(7, "sqlite3")}))
    assert "without a gap" in describe(store, 1, frozenset())
