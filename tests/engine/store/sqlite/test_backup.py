"""Backups of real stores: whole, private, and resumed from."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from anyio import from_thread

from engine import StoreError
from engine.kinds import Allotment, Answer, Job
from engine.store.sqlite import source
from engine.testing import FakeClock, ScriptedService, scored
from tests.engine.scenes import NOW, opened, sweep, timeless_rows
from tests.patience import PATIENCE_S


def by_repeat(job: Job) -> Answer:
    """Another answer for each repeat."""
    return scored(0.2, 0.9, 0.1 + 0.9 * (job.repeat % 2))


def service() -> ScriptedService:
    return ScriptedService(by_repeat, allotment=Allotment(used=0, allotted=100_000))


def one(path: Path, query: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchone()[0]


def mode_and_size(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return stat.S_IMODE(found.st_mode), found.st_size


def names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


async def test_a_backup_taken_in_the_middle_of_a_run_resumes_to_the_same_rows(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere/copy.db"
    here, there = service(), service()
    of = sweep(here, models=["a", "b"], repeats=50, limits={"max_in_flight": 8})

    async with opened(tmp_path / "store.db", here) as engine, anyio.create_task_group() as tasks:
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await here.recording.until_started(30)
        here.recording.hold()
        await here.recording.until_in_flight(8)
        made = await engine.backup(target)
        here.recording.release()
    async with opened(tmp_path / "store.db", here) as engine:
        undisturbed = await timeless_rows(await engine.run())
    async with opened(target, there) as engine:
        copied = await engine.run()
        status = await copied.execute()
        resumed = await timeless_rows(copied)

    assert made.in_flight >= 8
    assert len(there.recording.started) == 100 - made.answers
    assert status.cells_done == 100
    assert resumed == undisturbed
    assert one(target, "PRAGMA integrity_check") == "ok"
    assert one(target, "SELECT sum(reserved) FROM quota") == 0


async def test_opening_a_backup_waits_for_no_worker_of_the_store(
    tmp_path: Path, clock: FakeClock
) -> None:
    here, there = service(), service()
    of = sweep(here, repeats=20, limits={"max_in_flight": 8})
    here.recording.hold()

    async with (
        opened(tmp_path / "store.db", here) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await here.recording.until_in_flight(1)
        await engine.backup(tmp_path / "copy.db")
        # By a clock that stands still: there is no lease that could run out.
        async with opened(tmp_path / "copy.db", there, clock) as copied:
            with anyio.fail_after(PATIENCE_S):
                status = await (await copied.run()).execute()
        here.recording.release()

    assert status.cells_done == 20


async def test_a_backup_is_of_one_moment_however_much_is_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PAGES_AT_ONCE", 1)
    here = service()
    of = sweep(here, models=["a", "b", "c"], repeats=300)

    async with opened(tmp_path / "store.db", here) as engine, anyio.create_task_group() as tasks:
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await here.recording.until_started(50)
        made = await engine.backup(tmp_path / "copy.db")

    copy = tmp_path / "copy.db"
    answered = one(copy, "SELECT count(*) FROM job WHERE state = 'succeeded'")
    assert answered == one(copy, "SELECT count(*) FROM result") == made.answers
    assert one(copy, "SELECT count(*) FROM job WHERE state = 'running'") == 0
    assert one(copy, "PRAGMA integrity_check") == "ok"


async def test_a_backup_is_private_and_stands_alone(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path / "store.db", service(), clock) as engine:
        await engine.submit(sweep(service()))
        made = await engine.backup()

    mode, size = mode_and_size(made.path)
    assert made.path == str(tmp_path / "store-20270115T080000Z.db")
    assert mode == 0o600
    assert (made.taken_at, made.bytes, made.runs) == (NOW, size, 1)
    assert names(tmp_path) == {"store.db", "store.db.workers", "store-20270115T080000Z.db"}


async def test_a_backup_overwrites_nothing(tmp_path: Path, clock: FakeClock) -> None:
    target = tmp_path / "kept.txt"
    target.write_text("mine")

    async with opened(tmp_path / "store.db", service(), clock) as engine:
        with pytest.raises(StoreError, match=r"kept\.txt: exists already"):
            await engine.backup(target)

    assert target.read_text() == "mine"


async def test_a_backup_into_a_folder_that_is_not_there_says_so(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with opened(tmp_path / "store.db", service(), clock) as engine:
        with pytest.raises(StoreError, match="cannot be written: No such file"):
            await engine.backup(tmp_path / "none/copy.db")


async def test_a_backup_that_is_broken_off_leaves_nothing_behind(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = 0

    def check() -> None:
        nonlocal pages
        pages += 1
        from_thread.run_sync(scope.cancel)
        from_thread.check_cancelled()

    monkeypatch.setattr(source, "check_cancelled", check)
    monkeypatch.setattr(source, "PAGES_AT_ONCE", 1)

    async with opened(tmp_path / "store.db", service(), clock) as engine:
        await engine.submit(sweep(service()))
        with anyio.CancelScope() as scope:
            await engine.backup(tmp_path / "copy.db")

    assert scope.cancelled_caught
    assert pages == 1
    assert names(tmp_path) == {"store.db", "store.db.workers"}
