"""A cancelled task waits neither for a long statement nor for the lock of another process."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from sqlalchemy import text
from sqlalchemy.engine import Connection

from engine.clock import Clock, SystemClock
from engine.core.states import State
from engine.store import Store, open_for_reading, open_store
from engine.store.schema import HEAD
from tests.engine.store.scenes import downgrade, new_job, rows, submit
from tests.patience import PATIENCE_S

MOMENT_S = 0.1
AGES_S = 3600.0
ENDLESS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
)


def never_ends(connection: Connection) -> None:
    connection.execute(ENDLESS)


@contextmanager
def hold_write_lock(path: Path) -> Iterator[None]:
    """Hold the write lock from another connection."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with one job."""
    found = tmp_path / "store.db"
    async with open_store(found, SystemClock()) as store:
        await submit(store, new_job("one"))
    return found


async def test_a_long_look_is_broken_off(path: Path) -> None:
    with anyio.fail_after(PATIENCE_S), anyio.move_on_after(MOMENT_S) as scope:
        async with open_for_reading(path, SystemClock()) as store:
            await store._database.ask(never_ends)

    assert scope.cancelled_caught


@pytest.mark.parametrize("opening", [open_store, open_for_reading])
async def test_an_opening_that_is_cancelled_while_a_thread_works_for_it_ends(
    path: Path, opening: Callable[[Path, Clock], AbstractAsyncContextManager[Store]]
) -> None:
    async def open_in(scope: anyio.CancelScope) -> None:
        with scope:
            async with opening(path, SystemClock()):
                pass

    with anyio.fail_after(PATIENCE_S):
        # For each pass of the event loop in which it may come.
        for passes in range(8):
            async with anyio.create_task_group() as tasks:
                scope = anyio.CancelScope()
                tasks.start_soon(open_in, scope)
                for _ in range(passes):
                    await checkpoint()
                scope.cancel()

    assert rows(path, "SELECT count(*) FROM worker WHERE ended_at IS NULL") == [(0,)]


async def test_a_long_change_is_broken_off_and_taken_back(path: Path) -> None:
    def change(connection: Connection) -> None:
        connection.execute(text("UPDATE job SET state = 'cancelled'"))
        never_ends(connection)

    with anyio.fail_after(PATIENCE_S), anyio.move_on_after(MOMENT_S) as scope:
        async with open_store(path, SystemClock()) as store:
            await store.worker.writer.write(change)

    assert scope.cancelled_caught
    assert rows(path, "SELECT state FROM job") == [(State.PENDING,)]


async def test_a_change_that_waits_for_the_lock_of_another_process_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.store.sqlite.database.WRITE_TIMEOUT_S", AGES_S)
    monkeypatch.setattr("engine.store.writer.PATIENCE_S", AGES_S)

    with hold_write_lock(path), anyio.fail_after(PATIENCE_S):
        with anyio.move_on_after(MOMENT_S) as scope:
            async with open_store(path, SystemClock()) as store:
                await store.queue.cancel(1)
        # The lock is still held.

    assert scope.cancelled_caught
    assert rows(path, "SELECT state FROM job") == [(State.PENDING,)]
    assert rows(path, "SELECT count(*) FROM worker WHERE ended_at IS NULL") == [(0,)]


async def test_a_migration_that_waits_for_the_lock_of_another_process_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.store.sqlite.migrate.BUSY_TIMEOUT_S", AGES_S)
    downgrade(path, "0012")

    with hold_write_lock(path), anyio.fail_after(PATIENCE_S):
        with anyio.move_on_after(MOMENT_S) as scope:
            async with open_store(path, SystemClock()):
                pytest.fail("it was migrated while another connection held the lock")

    assert scope.cancelled_caught
    assert rows(path, "SELECT version_num FROM alembic_version") == [("0012",)]
    async with open_store(path, SystemClock()):
        assert rows(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
