import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from engine.core.errors import StoreError, UsageError
from engine.store.memory import Memory, MemoryDatabase, open_memory_store
from engine.testing import FakeClock
from tests.engine.store.scenes import NOW


async def test_a_store_in_memory_needs_no_thread() -> None:
    before = set(threading.enumerate())

    async with open_memory_store(Memory(), FakeClock(NOW)) as store:
        await store.worker.record_heartbeat()

        assert set(threading.enumerate()) == before


async def test_a_store_in_memory_cannot_be_backed_up(tmp_path: Path) -> None:
    async with open_memory_store(Memory(), FakeClock(NOW)) as store:
        with pytest.raises(UsageError, match="memory: a store in memory cannot be backed up"):
            await store.back_up(tmp_path / "copy.db")


async def test_a_store_in_memory_that_is_only_read_refuses_changes() -> None:
    memory = Memory()
    async with open_memory_store(memory, FakeClock(NOW)) as store:
        await store.worker.record_heartbeat()

    async with open_memory_store(memory, FakeClock(NOW), read_only=True) as store:
        assert len(await store.reader.find_other_workers()) == 0
        with pytest.raises(UsageError, match="memory: was opened with read_only=True"):
            await store.worker.record_heartbeat()


async def test_workers_that_have_gone_are_found_without_a_thread() -> None:
    memory, before = Memory(), set(threading.enumerate())
    async with open_memory_store(memory, FakeClock(NOW)) as store:
        await store.worker.record_heartbeat()

    async with open_memory_store(memory, FakeClock(NOW)) as store:
        await store.worker.record_heartbeat()

    assert set(threading.enumerate()) == before
    with memory.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM worker").scalar() == 1


async def test_only_the_opening_that_is_broken_off_has_its_long_statements_interrupted() -> None:
    memory = Memory()
    one, other = MemoryDatabase(memory, None), MemoryDatabase(memory, None)
    long = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
        " SELECT count(*) FROM n"
    )

    one.interrupt()

    with pytest.raises(StoreError, match="interrupted"):
        await one.ask(lambda connection: connection.execute(long).scalar())
    assert await other.ask(lambda connection: connection.execute(long).scalar()) == 300_000
    one.allow_statements()
    assert await one.ask(lambda connection: connection.execute(long).scalar()) == 300_000
