"""Places that models share: nobody starves, and nobody waits for a place that is free."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint

from jobs.evaluator.shares import Shares


class Scene:
    """Who has a place, in the order of coming in; each leaves when told."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self.inside: list[str] = []
        self.leave: dict[str, anyio.Event] = {}

    async def one(self, name: str) -> None:
        self.leave[name] = anyio.Event()
        async with self.shares.hold(name[0]):
            self.inside.append(name)
            await self.leave[name].wait()
        self.inside.remove(name)

    async def let_go(self, name: str) -> None:
        self.leave[name].set()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await checkpoint()


@asynccontextmanager
async def scene(shares: Shares, *names: str) -> AsyncIterator[Scene]:
    play = Scene(shares)
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(play.one, name)
            await settled()
        yield play
        tasks.cancel_scope.cancel()


async def test_a_model_that_is_alone_has_all_places() -> None:
    async with scene(Shares(3), "a1", "a2", "a3", "a4") as play:
        assert play.inside == ["a1", "a2", "a3"]


async def test_the_model_that_has_fewest_comes_next() -> None:
    async with scene(Shares(3), "a1", "a2", "a3", "a4", "b1", "b2") as play:
        await play.let_go("a1")
        await play.let_go("a2")

        assert play.inside == ["a3", "b1", "a4"]
        await play.let_go("a3")
        assert play.inside == ["b1", "a4", "b2"]


async def test_a_model_without_a_place_gets_one_up_to_the_most() -> None:
    async with scene(Shares(2, most=3), "a1", "a2", "b1", "c1", "b2") as play:
        assert play.inside == ["a1", "a2", "b1"]


async def test_who_gives_up_leaves_its_place_to_others() -> None:
    shares = Shares(1)
    async with scene(shares, "a1") as play:
        with anyio.CancelScope() as impatient:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(play.one, "b1")
                await settled()
                impatient.cancel()
        await play.let_go("a1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play.one, "c1")
            await settled()
            assert play.inside == ["c1"]
            tasks.cancel_scope.cancel()
