from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.store import Store, open_store
from engine.testing import FakeClock
from tests.engine.store.scenes import NOW


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with open_store(path, clock) as opened:
        yield opened
