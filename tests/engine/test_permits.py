"""Waiting for permits: the order of callers, cancellation, and settling."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import anyio
import pytest

from engine.core.errors import NotNow
from engine.core.permits import PermitGrant, PermitLimit, PermitRequest, PermitStart
from engine.core.rates import CLOCK_TOLERANCE_S, GUARD_S, WINDOW_S
from engine.permits import LeadTime, MemoryBook, Permit, Permits
from engine.testing import FakeClock

NOW = 1_800_000_000.0


class SlowBook(MemoryBook):
    """One that takes its time, as a busy disk does; and remembers how often it was asked."""

    def __init__(self, clock: FakeClock, takes_s: float = 0.0) -> None:
        super().__init__(clock)
        self._time = clock
        self._takes_s = takes_s
        self.asked: list[PermitRequest] = []

    async def take_permits(self, request: PermitRequest) -> PermitGrant:
        self.asked.append(request)
        granted = await super().take_permits(request)
        await self._time.sleep(self._takes_s)
        return granted


@dataclass
class Scene:
    """Some who call under one name, and when each did."""

    clock: FakeClock
    book: SlowBook
    permits: Permits
    started: list[tuple[float, int]] = field(default_factory=list)

    async def call(
        self, tokens: int, *, budget: int | None = 1000, rate: int | None = None
    ) -> Permit:
        limit = PermitLimit(name="a", rate_per_min=rate, tokens_per_min=budget)
        permit = await self.permits.wait([limit], tokens=tokens)
        self.started.append((self.clock.now() - NOW, tokens))
        return permit


@asynccontextmanager
async def scene(takes_s: float = 0.0) -> AsyncIterator[Scene]:
    clock = FakeClock(NOW)
    book = SlowBook(clock, takes_s)
    async with clock.jumping():
        yield Scene(clock, book, Permits(book, clock, "tester"))


async def test_the_first_caller_is_served_first_whatever_the_others_ask_for() -> None:
    async with scene() as play, anyio.create_task_group() as tasks:
        for tokens in (700, 900, 10, 20, 30):
            tasks.start_soon(play.call, tokens)
            await anyio.lowlevel.checkpoint()

    assert [tokens for _, tokens in play.started] == [700, 900, 10, 20, 30]
    assert play.started[1][0] >= WINDOW_S + GUARD_S


async def test_many_in_line_are_asked_for_at_once() -> None:
    async with scene() as play, anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(lambda: play.call(1, budget=60_000))

    assert len(play.started) == 60
    assert max(len(request.calls) for request in play.book.asked) >= 59
    assert len(play.book.asked) < 30


async def test_an_answer_that_took_less_lets_the_next_start_at_once() -> None:
    async with scene() as play, anyio.create_task_group() as tasks:
        permit = await play.call(800)
        tasks.start_soon(play.call, 800)
        await play.clock.sleep(50.5)
        await permit.settle(100)

    assert play.started[1][0] == pytest.approx(50.5, abs=0.01)


async def test_room_that_another_process_makes_is_found_soon() -> None:
    async with scene() as play, anyio.create_task_group() as tasks:
        [at] = (
            await play.book.take_permits(
                PermitRequest(
                    caller="another",
                    calls=(800,),
                    limits=(PermitLimit(name="a", tokens_per_min=1000),),
                )
            )
        ).slots
        tasks.start_soon(play.call, 800)
        await play.clock.sleep(50.5)
        start = PermitStart(at=at, estimate=800, names=("a",))
        await play.book.settle_permit(start, taken=100)

    assert 50.5 <= play.started[0][0] <= 53


async def test_a_caller_that_gives_up_waiting_delays_no_other() -> None:
    async with scene() as play, anyio.create_task_group() as tasks:
        await play.call(500)
        with anyio.CancelScope() as impatient:
            tasks.start_soon(play.call, 400)
            async with anyio.create_task_group() as others:
                others.start_soon(play.call, 900)
                await play.clock.sleep(1)
                impatient.cancel()

    assert [tokens for _, tokens in play.started] == [500, 400]


@pytest.mark.parametrize("takes_s", [0.1, 2.0])
async def test_a_start_that_the_disk_made_late_is_let_go_and_the_next_is_taken_ahead(
    takes_s: float,
) -> None:
    async with scene(takes_s) as play:
        for _ in range(20):
            await play.call(100, rate=60)

    # What was granted is used in time, or not at all.
    assert play.book.asked[-1].lead_s == pytest.approx(takes_s, rel=0.3)
    times = [at for at, _ in play.started]
    assert times == sorted(times)
    for first in times:
        assert sum(100 for at in times if first <= at < first + WINDOW_S) <= 1000
    assert times[-1] < 4 * WINDOW_S


def test_a_disk_that_is_too_slow_for_any_lead_time_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lead = LeadTime()

    for _ in range(5):
        lead.adapt(CLOCK_TOLERANCE_S)

    assert lead.seconds == CLOCK_TOLERANCE_S / 2
    [record] = caplog.records
    assert "put the store on a faster disk" in record.getMessage()


def test_a_start_that_took_long_by_chance_lets_no_other_wait_that_long() -> None:
    lead = LeadTime()

    for took_s in [0.01] * 5 + [4.0, 0.01, 3600.0, 0.01]:
        lead.adapt(took_s)

    assert lead.seconds == 0.01


def test_starts_that_are_late_together_are_late_once() -> None:
    lead = LeadTime()

    for _ in range(64):
        lead.adapt(1.0)

    assert lead.seconds == 1.0


async def test_a_call_that_was_never_made_gives_its_start_back() -> None:
    async with scene() as play:
        permit = await play.call(1000, rate=1)
        await permit.settle(0)
        await play.clock.sleep(1)
        await play.call(1000, rate=1)

    assert play.started[1][0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_caller_that_does_not_give_up_is_served_whatever_the_others_do(seed: int) -> None:
    chance, patient = Random(seed), 0

    async def impatient(play: Scene, tokens: int, wait_s: float) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play.call, tokens)
            await play.clock.sleep(wait_s)
            tasks.cancel_scope.cancel()

    async def settling(play: Scene, tokens: int, taken: int) -> None:
        permit = await play.call(tokens)
        await permit.settle(taken)

    async with scene(0.05) as play, anyio.create_task_group() as tasks:
        for _ in range(16):
            tokens = chance.choice((10, 100, 900, 5000))
            if chance.random() < 0.5:
                tasks.start_soon(impatient, play, tokens, chance.uniform(0, 90))
            else:
                patient += 1
                tasks.start_soon(settling, play, tokens, chance.randint(0, tokens))

    assert len(play.started) >= patient > 0


async def test_a_rate_alone_is_not_asked_for_more_often_than_it_grants() -> None:
    async with scene() as play, anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(lambda: play.call(0, budget=None, rate=6))

    assert len(play.started) == 10
    assert len(play.book.asked) <= 21
    for first, _ in play.started:
        assert sum(first <= at < first + WINDOW_S for at, _ in play.started) <= 6


async def test_an_error_of_the_book_is_raised_by_every_waiting_call() -> None:
    class Broken(MemoryBook):
        async def take_permits(self, request: PermitRequest) -> PermitGrant:
            raise OSError("no disk")

    clock = FakeClock(NOW)
    permits = Permits(Broken(clock), clock, "tester")
    failed = []

    async def call() -> None:
        try:
            await permits.wait([PermitLimit(name="a", rate_per_min=1)])
        except OSError as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)

    assert len(failed) == 3


async def test_a_call_with_a_limit_of_its_own_loses_no_turn_to_calls_without() -> None:
    """Both are given the same time to ask again, each time."""
    shared_limit = PermitLimit(name="all", rate_per_min=60)
    # Its own turns lie between those of all.
    slow = PermitLimit(name="slow", rate_per_min=19)
    started: dict[str, list[float]] = {"slow": [], "fast": []}

    async def call(whom: str, *limits: PermitLimit) -> None:
        await play.permits.wait(limits)
        started[whom].append(play.clock.now() - NOW)

    async with scene() as play, anyio.create_task_group() as tasks:
        for _ in range(80):
            tasks.start_soon(call, "fast", shared_limit)
        for _ in range(15):
            tasks.start_soon(call, "slow", shared_limit, slow)

    assert started["slow"][-1] <= 15 * 3.6
    assert started["fast"][-1] <= 95 / 0.98


class SharedBook(SlowBook):
    """A book that another process keeps, too; it has taken its own time once it has written."""

    def __init__(self, clock: FakeClock, takes_s: float, shared: MemoryBook) -> None:
        super().__init__(clock, takes_s)
        self._states = shared._states


@pytest.mark.parametrize("takes_s", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("callers", [1, 8])
async def test_a_process_that_comes_later_gets_its_share_however_far_ahead_the_others_ask(
    callers: int, takes_s: float
) -> None:
    clock = FakeClock(NOW)
    older = SlowBook(clock, takes_s)
    books = {"older": older, "newcomer": SharedBook(clock, 0.01, older)}
    started: dict[str, list[float]] = {"older": [], "newcomer": []}

    async def keep_calling(who: str, permits: Permits, after_s: float) -> None:
        await clock.sleep(after_s)
        while clock.now() < NOW + 180:
            await permits.wait([PermitLimit(name="a", rate_per_min=30)])
            started[who].append(clock.now() - NOW)
            await clock.sleep(0.3)

    async with clock.jumping(), anyio.create_task_group() as tasks:
        for who, book in books.items():
            permits = Permits(book, clock, who)
            for _ in range(callers):
                tasks.start_soon(keep_calling, who, permits, 60 if who == "newcomer" else 0)

    shares = {who: sum(90 <= at < 180 for at in times) for who, times in started.items()}
    all_starts = started["older"] + started["newcomer"]
    assert abs(shares["newcomer"] - shares["older"]) <= 6
    assert sum(shares.values()) >= 0.95 * 45
    assert all(
        sum(first <= at < first + WINDOW_S for at in all_starts) <= 30 for first in all_starts
    )


async def test_a_start_behind_the_end_of_a_window_is_not_waited_for() -> None:
    limit = PermitLimit(name="a", rate_per_min=2)
    ended: list[float] = []

    async def call() -> None:
        try:
            await play.permits.wait([limit], until=NOW + 40)
        except NotNow:
            ended.append(play.clock.now() - NOW)
        else:
            play.started.append((play.clock.now() - NOW, 0))

    async with scene() as play, anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(call)

    assert [at for at, _ in play.started] == [0.0, pytest.approx(27.0, abs=0.1)]
    assert len(ended) == 4
    assert max(ended) < 40


async def test_without_a_limit_nothing_is_asked() -> None:
    async with scene() as play:
        permit = await play.permits.wait([PermitLimit(name="a")])
        await permit.settle(0)

    assert play.book.asked == []
