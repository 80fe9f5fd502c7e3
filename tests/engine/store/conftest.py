import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.store import Store
from engine.testing import FakeClock
from tests.engine.store.databases import DATABASES, Scratch
from tests.engine.store.scenes import NOW


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture(params=list(DATABASES))
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scratch]:
    """A database, whose kept counts must equal a recount at the end of each test."""
    scratch = DATABASES[request.param](tmp_path)
    yield scratch
    assert scratch.find_wrong_counts() == []


@pytest.fixture
async def store(scratch: Scratch, clock: FakeClock) -> AsyncIterator[Store]:
    # In a task of its own: a fixture's two halves run in different ones, a task group may not.
    opened: asyncio.Future[Store] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()

    async def host() -> None:
        async with scratch.open(clock) as store:
            opened.set_result(store)
            await closing.wait()

    hosting = asyncio.create_task(host())
    yield await opened
    closing.set()
    # A store that cannot commit gives up after some time: a clock that stands still would hold it for ever.
    async with clock.jumping():
        await hosting
