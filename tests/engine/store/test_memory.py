import threading
from pathlib import Path

import pytest

from engine.core.errors import UsageError
from engine.store.memory import Memory, open_memory_store
from engine.testing import FakeClock
from tests.engine.store.scenes import NOW


async def test_a_store_in_memory_needs_no_thread() -> None:
    before = set(threading.enumerate())

    async with open_memory_store(Memory(), FakeClock(NOW)) as store:
        await store.beat()

        assert set(threading.enumerate()) == before


async def test_a_store_in_memory_cannot_be_backed_up(tmp_path: Path) -> None:
    async with open_memory_store(Memory(), FakeClock(NOW)) as store:
        with pytest.raises(UsageError, match="memory: a store in memory cannot be backed up"):
            await store.back_up(tmp_path / "copy.db")
