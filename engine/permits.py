"""Waiting for permits: one line for all that have the same limits, asked for from its head."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Protocol

import anyio

from engine.clock import Clock
from engine.core import permit_rows, permits
from engine.core.errors import LimitReached, NotNow, StoreError
from engine.core.permits import (
    Granted,
    Kept,
    PermitCap,
    PermitLimit,
    PermitRequest,
    PermitStart,
)
from engine.core.rates import CLOCK_TOLERANCE_S, GUARD_S
from engine.starts import OPEN_MAX_S

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 64
_POLL_S = 2.0
"""How long to wait at most before asking again for tokens: other processes' answers make room, too."""
_LOOK_S = 1.0
"""How long it takes at most to notice that another process was given a limit, where none was given here."""
LEAD_MAX_S = CLOCK_TOLERANCE_S / 2
"""How slow a commit may be before what was granted in it is too late to be used."""
AHEAD_MEMORY = 100
"""Most connections are kept alive: the few that are opened decide how long before its moment that begins."""
_AHEAD_MAX_S = 4.0
"""How long before their moment connections are opened at most."""
_CHANCE = 2
"""How many of the starts that took longest say nothing of the next one."""
_CLOSED = "the sweep lets no request start now"


class PermitBook(Protocol):
    """Where permits are kept, durable and shared."""

    async def take_permits(self, request: PermitRequest) -> Granted:
        """Grant the first calls of a request, as many as there is room for."""
        ...

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        """Keep what a call really took; 0: it was never made. Raises StoreError where that cannot be written."""
        ...

    async def find_limited(self, names: Collection[str]) -> Collection[str]:
        """The names among these under which any live process has a limit; it holds for all."""
        ...


class Permit(Protocol):
    """One start that was granted."""

    async def start(self) -> None:
        """Return when the call may be written, where connecting may have taken its moment from it.

        Raises NotNow where there is none soon.
        """
        ...

    async def settle(self, tokens: int) -> None:
        """Say what the call really took, once that is known; 0: it was never made.

        Less than its estimate makes room at once; more makes later calls wait.
        """
        ...


class LeadTime:
    """How far ahead starts are taken: as far as it has lately taken to commit them.

    Otherwise a slow disk would make all of them late. But what is taken far ahead is in flight until its time comes:
    so the few that took longest, as they do in a process that was stopped, are put down to chance.
    """

    def __init__(self, *, memory: int = 10) -> None:
        """`memory`: of how many starts it is known how long they took."""
        self.seconds = 0.0
        self._took: deque[float] = deque(maxlen=memory)

    def adapt(self, took_s: float) -> None:
        """Learn how long it took until a start could be used that was asked for."""
        self._took.append(took_s)
        seconds = sorted(self._took, reverse=True)[: _CHANCE + 1][-1]
        if seconds > LEAD_MAX_S > self.seconds:
            logger.warning(
                "the store takes more than %.0f s to commit, and requests within a rate come too"
                " late for their turn; put the store on a faster disk",
                LEAD_MAX_S,
            )
        self.seconds = min(seconds, LEAD_MAX_S)


class MemoryBook:
    """A PermitBook that lasts as long as it is held; it knows no caps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, Kept] = {}

    async def take_permits(self, request: PermitRequest) -> Granted:
        assert request.cap is None, "a cap belongs to a run, which is in a store"
        granted, kept = permits.take(self._kept, request, now=self._clock.now())
        self._kept |= kept
        return granted

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        self._kept |= permit_rows.settle(self._kept, start, taken=taken)

    async def find_limited(self, names: Collection[str]) -> Collection[str]:
        # Each request for a permit carries its own limits.
        return ()


class Permits:
    """Permits out of a book, for one who asks under the name `who`, which nobody else ever has."""

    def __init__(self, book: PermitBook, clock: Clock, who: str) -> None:
        self._book = book
        self._clock = clock
        self._who = who
        self._lines: dict[tuple[tuple[PermitLimit, ...], PermitCap | None], _Line] = {}
        self._unlimited: set[str] = set()
        """Names under which no limit was given here."""
        self._limited: Collection[str] = ()
        """Those of them under which another process was given one, as of the last look."""
        self._look_at = -inf
        self._looking = anyio.Lock()

    async def wait(
        self,
        limits: Iterable[PermitLimit],
        *,
        tokens: int = 0,
        cap: PermitCap | None = None,
        until: float = inf,
    ) -> Permit:
        """Return when a call that is estimated at `tokens` may start, right now, within all limits.

        First come, first served among those with the same limits. Raises LimitReached where nothing is
        left under the `cap`, and NotNow where the start would lie behind `until`.
        """
        limits = tuple(limits)
        unlimited = {limit.name for limit in limits if not limit.binds}
        limited = await self._find_limited_elsewhere(unlimited) if unlimited else ()
        binding = tuple(limit for limit in limits if limit.binds or limit.name in limited)
        if not binding and cap is None:
            return _UNBOUND
        key = binding, cap
        if key not in self._lines:
            who = f"{self._who} {len(self._lines)}"
            self._lines[key] = _Line(
                self._book, self._clock, who, binding, cap, self._has_room, self._turn
            )
        line = self._lines[key]
        while True:
            at = await line.slot(tokens, until)
            permit = _Start(line, self._clock, at, tokens, until)
            if not binding:
                return permit
            if at >= until:
                await permit.settle(0)
                raise NotNow(_CLOSED)
            await self._clock.sleep(at - line.ahead_s - self._clock.now())
            permit.began = self._clock.now()
            if permit.began - at <= GUARD_S:
                return permit
            # Late starts could bunch up: this one is let go.
            await permit.settle(0)

    async def _find_limited_elsewhere(self, names: Collection[str]) -> Collection[str]:
        """Under which names other processes were given a limit, as far as known a second ago."""
        if self._clock.now() < self._look_at and self._unlimited.issuperset(names):
            return self._limited
        async with self._looking:
            now = self._clock.now()
            if now >= self._look_at or not self._unlimited.issuperset(names):
                self._unlimited.update(names)
                self._limited = await self._book.find_limited(self._unlimited)
                self._look_at = now + _LOOK_S
            return self._limited

    async def _turn(self, line: "_Line") -> None:
        """Let lines ask first that have waited longer for something that this one would take.

        Lines are told the same time to ask again; without turns the same one might come first each time.
        """
        while (first := self._before(line)) is not None:
            await self._clock.wait(first.asked, self._clock.now() + _POLL_S)

    def _before(self, line: "_Line") -> "_Line | None":
        now = self._clock.now()
        return next(
            (
                other
                for other in self._lines.values()
                if other is not line
                and other.waits_since < line.waits_since
                and other.asks_at <= now
                and not other.names.isdisjoint(line.names)
            ),
            None,
        )

    def _has_room(self, names: Collection[str]) -> None:
        """Let those look again who wait for tokens under one of these names."""
        for line in self._lines.values():
            if any(limit.name in names for limit in line.limits):
                line.room.set()


@dataclass(slots=True, eq=False)
class _Waiting:
    tokens: int
    slot: float | None = None
    called: anyio.Event = field(default_factory=anyio.Event)
    """Set when it has its slot, or is the first in line."""


class _Line:
    """Who waits for the same limits; the first one asks, for itself and for those behind it."""

    def __init__(
        self,
        book: PermitBook,
        clock: Clock,
        who: str,
        limits: tuple[PermitLimit, ...],
        cap: PermitCap | None,
        has_room: Callable[[Collection[str]], None],
        turn: Callable[["_Line"], Awaitable[None]],
    ) -> None:
        self.book = book
        self.limits = limits
        self.cap = cap
        self.names = frozenset(limit.name for limit in limits)
        self.room = anyio.Event()
        self.waits_since = inf
        """Since when no one in line was granted a start; infinite until the head is refused."""
        self.asks_at = inf
        """When the head asks again."""
        self.asked = anyio.Event()
        self._clock = clock
        self._who = who
        self._has_room = has_room
        self._turn = turn
        self._lead = LeadTime()
        self._ahead = LeadTime(memory=AHEAD_MEMORY)
        self._last_at = 0.0
        self._waiting: deque[_Waiting] = deque()

    @property
    def ahead_s(self) -> float:
        """How long before its moment a call begins to connect, as learnt from those that say when they write."""
        return min(self._ahead.seconds, _AHEAD_MAX_S)

    def learn_connect_time(self, took_s: float) -> None:
        """Learn how long it took until a call could be written that was let begin."""
        self._ahead.adapt(took_s)

    @property
    def _of_tokens(self) -> tuple[str, ...]:
        # One that was given elsewhere may be of tokens, too.
        return tuple(
            limit.name
            for limit in self.limits
            if limit.tokens_per_min is not None or not limit.binds
        )

    async def slot(self, tokens: int, until: float, *, is_connected: bool = False) -> float:
        """The time at which a call of `tokens` may start: about now.

        One that is connected goes first: its server waits.
        """
        me = _Waiting(tokens)
        if is_connected:
            # Behind the head, which may be asking just now.
            self._waiting.insert(1, me)
        else:
            self._waiting.append(me)
        try:
            while me.slot is None:
                if self._waiting[0] is me:
                    await self._ask(until)
                else:
                    await me.called.wait()
        finally:
            if me in self._waiting:
                self._waiting.remove(me)
            if self._waiting:
                self._waiting[0].called.set()
            else:
                self._end_of_wait()
        return me.slot

    async def _ask(self, until: float) -> None:
        """Ask for those in line, and wait until it makes sense to ask again where nobody was granted."""
        if self._clock.now() >= until:
            raise NotNow(_CLOSED)
        await self._turn(self)
        self.room = room = anyio.Event()
        asking = list(islice(self._waiting, _MOST_AT_ONCE))
        granted = await self.book.take_permits(
            PermitRequest(
                who=self._who,
                calls=tuple(one.tokens for one in asking),
                limits=self.limits,
                cap=self.cap,
                lead_s=min(self._lead.seconds + self.ahead_s, LEAD_MAX_S),
                last_at=self._last_at,
            )
        )
        self._last_at = max((self._last_at, *granted.slots))
        for one, slot in zip(asking, granted.slots, strict=False):
            # A slot of somebody who has gone meanwhile stays counted: the safe side.
            if one in self._waiting:
                self._waiting.remove(one)
                one.slot = slot
                one.called.set()
        now = self._clock.now()
        if granted.slots:
            self._end_of_wait()
            if self.limits:
                self._lead.adapt(now - granted.asked_at)
        elif granted.is_used_up:
            assert self.cap is not None, "only a cap is ever used up"
            raise LimitReached(
                f"the sweep's own limit of {self.cap.allotted:,} requests is reached", sent=False
            )
        elif granted.next_at >= until:
            raise NotNow(_CLOSED)
        else:
            poll_s = _POLL_S if self._of_tokens else inf
            self.waits_since = min(self.waits_since, now)
            self.asks_at = min(granted.next_at, now + poll_s)
            self._notify_asked()
            logger.debug(
                "%s: no call may start for %.1f s; %d waiting",
                ", ".join(sorted(self.names)),
                self.asks_at - now,
                len(self._waiting),
            )
            await self._clock.wait(room, self.asks_at)

    def _end_of_wait(self) -> None:
        self.waits_since = self.asks_at = inf
        self._notify_asked()

    def _notify_asked(self) -> None:
        asked, self.asked = self.asked, anyio.Event()
        asked.set()

    async def settle(self, at: float, estimate: int, taken: int) -> None:
        """Keep what a call really took, and let those look for room who wait for some."""
        of_tokens = self._of_tokens
        if taken and (not of_tokens or taken == estimate):
            return
        names = of_tokens if taken else tuple(limit.name for limit in self.limits)
        start = PermitStart(at=at, estimate=estimate, names=names, cap=None if taken else self.cap)
        try:
            await self.book.settle_permit(start, taken=taken)
        except StoreError:
            # The caller holds a paid reply, so do not fail. Keeping the estimate errs on the safe side.
            return
        self._has_room(names)


@dataclass(slots=True)
class _Start:
    line: _Line
    clock: Clock
    at: float
    estimate: int
    until: float
    began: float = inf
    """When it was let begin to connect."""

    async def start(self) -> None:
        if not self.line.limits:
            return
        self.line.learn_connect_time(self.clock.now() - self.began)
        until = min(self.until, self.clock.now() + OPEN_MAX_S)
        await self.clock.sleep(self.at - self.clock.now())
        while self.clock.now() - self.at > GUARD_S:
            await self.settle(0)
            self.at = await self.line.slot(self.estimate, until, is_connected=True)
            await self.clock.sleep(self.at - self.clock.now())

    async def settle(self, tokens: int) -> None:
        await self.line.settle(self.at, self.estimate, tokens)


class _Unbound:
    """A permit that nothing waits for."""

    async def start(self) -> None:
        return None

    async def settle(self, tokens: int) -> None:
        return None


_UNBOUND = _Unbound()
