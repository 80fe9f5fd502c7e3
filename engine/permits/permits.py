"""Permits for the calls of one caller, within the limits that it names."""

from collections.abc import Collection, Iterable
from math import inf

import anyio

from engine.clock import Clock
from engine.core.errors import NotNow
from engine.core.permits import PermitCap, PermitLimit
from engine.core.rates import GUARD_S
from engine.permits.book import Permit, PermitBook
from engine.permits.line import CLOSED, POLL_S, UNLIMITED, Line, Start

_LOOK_S = 1.0
"""Seconds after which a limit that only another process has is noticed here."""


class Permits:
    """Hands out permits from a book to the calls of one caller.

    The name `caller` is unique over all processes. Calls with the same limits are served in the order in
    which they ask.
    """

    def __init__(self, book: PermitBook, clock: Clock, caller: str) -> None:
        self._book = book
        self._clock = clock
        self._caller = caller
        self._lines: dict[tuple[tuple[PermitLimit, ...], PermitCap | None], Line] = {}
        self._unlimited: set[str] = set()
        """Names under which this process has no limit."""
        self._limited: Collection[str] = ()
        """Those of them under which another process had one when last asked."""
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
        """Wait until a call may begin to connect, so that it starts within all limits; returns its permit.

        `tokens` is the estimate of what it takes, and `cap` a quota of which it takes one request. Raises
        LimitReached if nothing is left under the `cap`, and NotNow if the call could start only after
        `until`, in seconds since the Unix epoch.
        """
        limits = tuple(limits)
        unlimited = {limit.name for limit in limits if not limit.binds}
        limited = await self._find_limited_elsewhere(unlimited) if unlimited else ()
        binding = tuple(limit for limit in limits if limit.binds or limit.name in limited)
        if not binding and cap is None:
            return UNLIMITED
        key = binding, cap
        if key not in self._lines:
            caller = f"{self._caller} {len(self._lines)}"
            self._lines[key] = Line(
                self._book, self._clock, caller, binding, cap, self._wake, self._await_turn
            )
        line = self._lines[key]
        while True:
            at = await line.wait_for_slot(tokens, until)
            permit = Start(line, self._clock, at, tokens, until)
            if not binding:
                return permit
            if at >= until:
                await permit.settle(0)
                raise NotNow(CLOSED)
            await self._clock.sleep(at - line.connect_s - self._clock.now())
            permit.began_at = self._clock.now()
            if permit.began_at - at <= GUARD_S:
                return permit
            # Late starts could bunch up, so give this one back.
            await permit.settle(0)

    async def _find_limited_elsewhere(self, names: Collection[str]) -> Collection[str]:
        """The names under which other processes have a limit; the answer is up to a second old."""
        if self._clock.now() < self._look_at and self._unlimited.issuperset(names):
            return self._limited
        async with self._looking:
            now = self._clock.now()
            if now >= self._look_at or not self._unlimited.issuperset(names):
                self._unlimited.update(names)
                self._limited = await self._book.find_limited(self._unlimited)
                self._look_at = now + _LOOK_S
            return self._limited

    async def _await_turn(self, line: Line) -> None:
        """Wait until no line that has waited longer for one of the same limits is due to ask.

        Lines with the same limits ask again at the same time; without turns, the same one might be
        first each time.
        """
        while (first := self._before(line)) is not None:
            await self._clock.wait(first.asked, self._clock.now() + POLL_S)

    def _before(self, line: Line) -> Line | None:
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

    def _wake(self, names: Collection[str]) -> None:
        """Wake the lines that wait for one of these limits: there may be room now."""
        for line in self._lines.values():
            if any(limit.name in names for limit in line.limits):
                line.room.set()
