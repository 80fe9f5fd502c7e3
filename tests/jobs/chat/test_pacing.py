"""Calls to an endpoint that allows fewer in a minute than are made: what is sent in vain, and when."""

from collections import deque
from itertools import pairwise

import anyio
import pytest

from engine.kinds import RateLimited, Transient
from engine.testing import FakeClock
from jobs.chat.limits import CallLimits
from jobs.chat.target import CallableTarget, Message, Question, Role
from tests.jobs.context import MemoryContext

NOW = 1_800_000_000.0
AT_ONCE = 8


def question(model: str = "strict") -> Question:
    return Question(model=model, messages=(Message(Role.USER, "Hello?"),), seed=1)


class Strict:
    """Answers at most 30 calls in any minute, each within a tenth of a second, and refuses the others."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked: list[float] = []
        self._taken: deque[float] = deque()

    async def __call__(self, asked: Question) -> str:
        now = self.clock.now()
        self.asked.append(now)
        while self._taken and self._taken[0] <= now - 60.0:
            self._taken.popleft()
        is_taken = len(self._taken) < 30 or asked.model == "other"
        wait_s = 0.0 if is_taken else self._taken[0] + 60.0 - now
        if is_taken and asked.model == "strict":
            self._taken.append(now)
        await self.clock.sleep(0.1)
        if wait_s:
            raise RateLimited("slow down", status=429, retry_after_s=wait_s - 0.1)
        return "Hi."


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


def limits() -> CallLimits:
    return CallLimits(
        "target", rate_per_min=None, tokens_per_min=None, max_tokens=0, max_in_flight=1000
    )


async def test_calls_after_a_refusal_are_spaced_evenly_and_hardly_any_is_refused(
    clock: FakeClock,
) -> None:
    strict, shared, context = Strict(clock), limits(), MemoryContext(clock=clock)
    target = CallableTarget("strict", strict)
    left = iter(range(150))

    async def caller() -> None:
        for _ in left:
            while True:
                try:
                    await shared.reply(target.reply, question(), context)
                    break
                except RateLimited as error:
                    await clock.sleep(error.retry_after_s or 0.0)

    async with clock.jumping(), anyio.create_task_group() as callers:
        for _ in range(AT_ONCE):
            callers.start_soon(caller)

    assert len(strict.asked) <= 150 + AT_ONCE + 15
    # The endpoint's own pace would be 240 s: 30 at once, and the other 120 at 30 a minute.
    assert strict.asked[-1] - NOW <= 1.3 * 240
    later = [at for at in strict.asked if at > NOW + 61.0]
    assert sum(after - before < 0.5 for before, after in pairwise(later)) <= 8


async def test_nothing_is_sent_during_a_retry_after_and_the_rest_of_it_is_reported(
    clock: FakeClock,
) -> None:
    strict, shared, context = Strict(clock), limits(), MemoryContext(clock=clock)
    target = CallableTarget("strict", strict)
    refusals: list[RateLimited] = []

    async with clock.jumping():
        for _ in range(33):
            try:
                await shared.reply(target.reply, question(), context)
            except RateLimited as error:
                refusals.append(error)
        await shared.reply(target.reply, question("other"), context)

    first, second, third = refusals
    assert len(strict.asked) == 30 + 1 + 1
    assert first.sent
    assert not second.sent
    assert second.retry_after_s == pytest.approx(first.retry_after_s)
    assert third.message == "slow down"


async def test_a_503_with_retry_after_holds_all_calls_until_then(
    clock: FakeClock,
) -> None:
    asked: list[float] = []

    async def away(_: Question) -> str:
        asked.append(clock.now())
        if len(asked) == 1:
            raise Transient("answered 503", status=503, retry_after_s=4.0)
        return "Hi."

    shared, context, target = limits(), MemoryContext(clock=clock), CallableTarget("away", away)

    async with clock.jumping():
        with pytest.raises(Transient):
            await shared.reply(target.reply, question(), context)
        with pytest.raises(RateLimited) as caught:
            await shared.reply(target.reply, question(), context)
        await clock.sleep(caught.value.retry_after_s or 0.0)
        await shared.reply(target.reply, question(), context)

    assert not caught.value.sent
    assert (caught.value.status, caught.value.message) == (503, "answered 503")
    assert asked == [NOW, NOW + 4.0]
