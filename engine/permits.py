"""Waiting for permits: one line for each name and its limits, asked for from its head."""

import logging
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Protocol

import anyio

from engine.clock import Clock
from engine.core import permits
from engine.core.permits import Granted, Kept, PermitRequest
from engine.core.rates import CLOCK_TOLERANCE_S, GUARD_S

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 64
_POLL_S = 2.0
"""How long to wait at most before asking again for tokens: other processes' answers make room, too."""
_LEAD_MAX_S = CLOCK_TOLERANCE_S / 2
"""How slow a commit may be before what was granted in it is too late to be used."""


class PermitBook(Protocol):
    """Where permits are kept, durable and shared."""

    async def take_permits(self, request: PermitRequest) -> Granted:
        """Grant the first calls of a request, as many as there is room for."""
        ...

    async def settle_permit(self, name: str, *, at: float, estimate: int, taken: int) -> None:
        """Keep what a call really took; 0: it was never made."""
        ...


class Permit(Protocol):
    """One start that was granted."""

    async def settle(self, tokens: int) -> None:
        """Say what the call really took, once that is known; 0: it was never made.

        Less than its estimate makes room at once; more makes later calls wait.
        """
        ...


class Lead:
    """How far ahead starts are taken: as far as it takes to commit them.

    Otherwise a slow disk would make all of them late.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def adapt(self, early_s: float) -> None:
        """Learn how long before its time a start could be used; less than 0: it was late."""
        late_s = -early_s if early_s < 0 else -early_s / 10
        seconds = max(0.0, self.seconds + late_s)
        if seconds > _LEAD_MAX_S > self.seconds:
            logger.warning(
                "the store takes more than %.0f s to commit, and requests within a rate come too"
                " late for their turn; put the store on a faster disk",
                _LEAD_MAX_S,
            )
        self.seconds = min(seconds, _LEAD_MAX_S)


class MemoryBook:
    """A PermitBook that lasts as long as it is held."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, Kept] = {}

    async def take_permits(self, request: PermitRequest) -> Granted:
        kept = self._kept.get(request.name, Kept())
        granted, self._kept[request.name] = permits.take(kept, request, now=self._clock.now())
        return granted

    async def settle_permit(self, name: str, *, at: float, estimate: int, taken: int) -> None:
        kept = self._kept[name]
        self._kept[name] = permits.settle(kept, at=at, estimate=estimate, taken=taken)


class Permits:
    """Permits out of a book, for one who asks under the name `who`, which nobody else ever has."""

    def __init__(self, book: PermitBook, clock: Clock, who: str) -> None:
        self._book = book
        self._clock = clock
        self._who = who
        self._lines: dict[tuple[str, int | None, int | None], _Line] = {}

    async def wait(
        self, name: str, *, rate_per_min: int | None, tokens_per_min: int | None, tokens: int
    ) -> Permit:
        """Return when a call that is estimated at `tokens` may start, right now.

        First come, first served among those with the same limits.
        """
        limits = name, rate_per_min, tokens_per_min
        if limits not in self._lines:
            who = f"{self._who} {len(self._lines)}"
            self._lines[limits] = _Line(self._book, self._clock, who, *limits)
        line = self._lines[limits]
        while True:
            at = await line.slot(tokens)
            await self._clock.sleep(at - self._clock.now())
            permit = _Start(line, at, tokens)
            if self._clock.now() - at <= GUARD_S:
                return permit
            # Late starts could bunch up: this one is let go.
            await permit.settle(0)


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
        name: str,
        rate_per_min: int | None,
        tokens_per_min: int | None,
    ) -> None:
        self.book = book
        self.name = name
        self._clock = clock
        self._who = who
        self._rate_per_min = rate_per_min
        self._tokens_per_min = tokens_per_min
        self._lead = Lead()
        self._waiting: deque[_Waiting] = deque()
        self._room = anyio.Event()

    async def slot(self, tokens: int) -> float:
        """The time at which a call of `tokens` may start: about now."""
        me = _Waiting(tokens)
        self._waiting.append(me)
        try:
            while me.slot is None:
                if self._waiting[0] is me:
                    await self._ask()
                else:
                    await me.called.wait()
        finally:
            if me in self._waiting:
                self._waiting.remove(me)
            if self._waiting:
                self._waiting[0].called.set()
        return me.slot

    async def _ask(self) -> None:
        """Ask for those in line, and wait until it makes sense to ask again where nobody was granted."""
        self._room = room = anyio.Event()
        asking = list(islice(self._waiting, _MOST_AT_ONCE))
        granted = await self.book.take_permits(
            PermitRequest(
                name=self.name,
                who=self._who,
                calls=tuple(one.tokens for one in asking),
                rate_per_min=self._rate_per_min,
                tokens_per_min=self._tokens_per_min,
                lead_s=self._lead.seconds,
            )
        )
        for one, slot in zip(asking, granted.slots, strict=False):
            # A slot of somebody who has gone meanwhile stays counted: the safe side.
            if one in self._waiting:
                self._waiting.remove(one)
                one.slot = slot
                one.called.set()
        now = self._clock.now()
        if granted.slots:
            self._lead.adapt(granted.slots[0] - now)
        else:
            poll_s = inf if self._tokens_per_min is None else _POLL_S
            await self._clock.wait(room, min(granted.next_at, now + poll_s))

    async def settle(self, at: float, estimate: int, taken: int) -> None:
        """Keep what a call really took, and let the first in line look for room."""
        if taken and (self._tokens_per_min is None or taken == estimate):
            return
        await self.book.settle_permit(self.name, at=at, estimate=estimate, taken=taken)
        self._room.set()


@dataclass(frozen=True, slots=True)
class _Start:
    line: _Line
    at: float
    estimate: int

    async def settle(self, tokens: int) -> None:
        await self.line.settle(self.at, self.estimate, tokens)
