"""Limiters that models share: none starves, and none waits while a place is free."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jobs.chat.limiters import FairLimiter, SlowStartLimiter
from jobs.chat.limits import CallLimits
from jobs.chat.model_caller import ModelCaller
from jobs.chat.target import CallableTarget, Message, Question, Role
from tests.jobs.context import Asked, MemoryContext


class Scene:
    """Holders of places, in the order in which they were admitted; each leaves with `let_go`."""

    def __init__(self, limiter: FairLimiter) -> None:
        self.limiter = limiter
        self.inside: list[str] = []
        self.leave: dict[str, anyio.Event] = {}

    async def one(self, name: str) -> None:
        self.leave[name] = anyio.Event()
        async with self.limiter.hold(name[0]):
            self.inside.append(name)
            await self.leave[name].wait()
        self.inside.remove(name)

    async def let_go(self, name: str) -> None:
        self.leave[name].set()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await checkpoint()


@asynccontextmanager
async def scene(limiter: FairLimiter, *names: str) -> AsyncIterator[Scene]:
    play = Scene(limiter)
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(play.one, name)
            await settle()
        yield play
        tasks.cancel_scope.cancel()


async def test_a_single_model_gets_all_places() -> None:
    async with scene(FairLimiter(3), "a1", "a2", "a3", "a4") as play:
        assert play.inside == ["a1", "a2", "a3"]


async def test_the_model_with_the_fewest_places_is_admitted_next() -> None:
    async with scene(FairLimiter(3), "a1", "a2", "a3", "a4", "b1", "b2") as play:
        await play.let_go("a1")
        await play.let_go("a2")

        assert play.inside == ["a3", "b1", "a4"]
        await play.let_go("a3")
        assert play.inside == ["b1", "a4", "b2"]


async def test_a_model_without_a_place_gets_one_up_to_the_most() -> None:
    async with scene(FairLimiter(2, most=3), "a1", "a2", "b1", "c1", "b2") as play:
        assert play.inside == ["a1", "a2", "b1"]


async def test_a_cancelled_waiter_keeps_no_place_from_the_others() -> None:
    limiter = FairLimiter(1)
    async with scene(limiter, "a1") as play:
        with anyio.CancelScope() as impatient:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(play.one, "b1")
                await settle()
                impatient.cancel()
        await play.let_go("a1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play.one, "c1")
            await settle()
            assert play.inside == ["c1"]
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("waits_s", "together"), [((), 1), ((0, 0.1), 4), ((0, 0, 0, 2), 1)])
async def test_calls_wait_for_permits_together_only_while_that_is_short(
    waits_s: Sequence[float], together: int
) -> None:
    start = SlowStartLimiter(8)
    inside: list[int] = []

    async def one(number: int) -> None:
        async with start.hold():
            inside.append(number)
            await anyio.sleep_forever()

    for waited_s in waits_s:
        start.learn(waited_s)
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(one, number)
        await settle()
        tasks.cancel_scope.cancel()

    assert inside == list(range(together))


class WithoutPermits(MemoryContext):
    async def permit(self, name: str, **_: Any) -> Asked:
        await anyio.sleep_forever()
        raise AssertionError("cancelled before")


async def test_a_model_that_waits_for_its_rate_keeps_no_more_than_one_place_from_others() -> None:
    inside: list[str] = []

    async def answer(question: Question) -> str:
        inside.append(question.model)
        await anyio.sleep_forever()
        return ""

    target = CallableTarget("any", answer)
    caller = ModelCaller(target, target, max_in_flight=4, limits=CallLimits("any", rate_per_min=1))

    async def ask(model: str, number: int, context: MemoryContext) -> None:
        messages = (Message(Role.USER, f"Question {number}?"),)
        await caller.ask(Question(model=model, messages=messages, seed=0), context)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(ask, "slow", number, WithoutPermits())
        await settle()
        for number in range(8):
            tasks.start_soon(ask, "fast", number, MemoryContext())
        for _ in range(20):
            await settle()
        tasks.cancel_scope.cancel()

    assert inside == ["fast"] * 3
