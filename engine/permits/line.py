"""A line of calls that wait for the same limits; the first one asks for all of them."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from itertools import islice
from math import inf

import anyio

from engine.clock import Clock
from engine.core.errors import LimitReached, NotNow, StoreError
from engine.core.permits import PermitCap, PermitLimit, PermitRequest, PermitStart
from engine.core.rates import GUARD_S
from engine.permits.book import PermitBook
from engine.permits.lead_time import CONNECT_MEMORY, LEAD_MAX_S, LeadTime
from engine.starts import OPEN_MAX_S

logger = logging.getLogger(__name__)

POLL_S = 2.0
"""The longest wait before asking again for tokens: answers in other processes make room, too."""
CLOSED = "the sweep lets no request start now"
_BATCH_MAX = 64
"""Calls that are asked for at once."""
_CONNECT_MAX_S = 4.0
"""The longest time before its start at which a call begins to connect."""


@dataclass(slots=True, eq=False)
class _Waiting:
    tokens: int
    slot: float | None = None
    called: anyio.Event = field(default_factory=anyio.Event)
    """Set when the call has its slot, or is first in line."""


class Line:
    """Calls that wait for the same limits. The first one asks, for itself and those behind it."""

    def __init__(
        self,
        book: PermitBook,
        clock: Clock,
        caller: str,
        limits: tuple[PermitLimit, ...],
        cap: PermitCap | None,
        wake: Callable[[Collection[str]], None],
        await_turn: Callable[["Line"], Awaitable[None]],
    ) -> None:
        self.book = book
        self.limits = limits
        self.cap = cap
        self.names = frozenset(limit.name for limit in limits)
        self.room = anyio.Event()
        self.waits_since = inf
        """When the first call was refused; infinite while calls are granted their starts."""
        self.asks_at = inf
        """When the first call asks again."""
        self.asked = anyio.Event()
        self._clock = clock
        self._caller = caller
        self._wake = wake
        self._await_turn = await_turn
        self._lead = LeadTime()
        self._connect = LeadTime(memory=CONNECT_MEMORY)
        self._last_at = 0.0
        self._waiting: deque[_Waiting] = deque()

    @property
    def connect_s(self) -> float:
        """How long before its start a call begins to connect, as learnt from earlier calls."""
        return min(self._connect.seconds, _CONNECT_MAX_S)

    def learn_connect_time(self, took_s: float) -> None:
        """Learn that a call was connected `took_s` seconds after it began to connect.

        Later permits are asked for that much earlier, and their calls begin to connect before their start.
        """
        self._connect.adapt(took_s)

    @property
    def _token_limits(self) -> tuple[str, ...]:
        # A limit that only another process has may be one of tokens.
        return tuple(
            limit.name
            for limit in self.limits
            if limit.tokens_per_min is not None or not limit.binds
        )

    async def wait_for_slot(
        self, tokens: int, until: float, *, is_connected: bool = False
    ) -> float:
        """Wait for the time at which a call of `tokens` may start, which is about now.

        A call that is connected goes before the others: its server waits.
        """
        me = _Waiting(tokens)
        if is_connected:
            # Behind the first call, which may be asking just now.
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
                self._end_wait()
        return me.slot

    async def _ask(self, until: float) -> None:
        """Ask for the calls in line; if none is granted, wait until it makes sense to ask again."""
        if self._clock.now() >= until:
            raise NotNow(CLOSED)
        await self._await_turn(self)
        self.room = room = anyio.Event()
        asking = list(islice(self._waiting, _BATCH_MAX))
        granted = await self.book.take_permits(
            PermitRequest(
                caller=self._caller,
                calls=tuple(one.tokens for one in asking),
                limits=self.limits,
                cap=self.cap,
                lead_s=min(self._lead.seconds + self.connect_s, LEAD_MAX_S),
                last_at=self._last_at,
            )
        )
        self._last_at = max((self._last_at, *granted.slots))
        for one, slot in zip(asking, granted.slots, strict=False):
            # The slot of a call that has given up meanwhile stays counted: the safe side.
            if one in self._waiting:
                self._waiting.remove(one)
                one.slot = slot
                one.called.set()
        now = self._clock.now()
        if granted.slots:
            self._end_wait()
            if self.limits:
                self._lead.adapt(now - granted.asked_at)
        elif granted.is_used_up:
            assert self.cap is not None, "only a cap is ever used up"
            raise LimitReached(
                f"the sweep's own limit of {self.cap.allotted:,} requests is reached", sent=False
            )
        elif granted.next_at >= until:
            raise NotNow(CLOSED)
        else:
            poll_s = POLL_S if self._token_limits else inf
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

    def _end_wait(self) -> None:
        self.waits_since = self.asks_at = inf
        self._notify_asked()

    def _notify_asked(self) -> None:
        asked, self.asked = self.asked, anyio.Event()
        asked.set()

    async def settle(self, at: float, estimate: int, taken: int) -> None:
        """Record the tokens that a call took, and wake the lines that may find room now.

        `at` and `estimate` are those of its permit; `taken` is 0 if it was never made. Nothing is recorded
        if that changes no limit. A StoreError is ignored, because the reply is paid for: the estimate then
        stays.
        """
        token_limits = self._token_limits
        if taken and (not token_limits or taken == estimate):
            return
        names = token_limits if taken else tuple(limit.name for limit in self.limits)
        start = PermitStart(at=at, estimate=estimate, names=names, cap=None if taken else self.cap)
        try:
            await self.book.settle_permit(start, taken=taken)
        except StoreError:
            # The reply has been paid for, so do not fail. Keeping the estimate errs on the safe side.
            return
        self._wake(names)


@dataclass(slots=True)
class Start:
    """A start that was granted to one call; if it comes too late, it is given back for another."""

    line: Line
    clock: Clock
    at: float
    estimate: int
    until: float
    began_at: float = inf
    """When it began to connect."""

    async def start(self) -> None:
        if not self.line.limits:
            return
        self.line.learn_connect_time(self.clock.now() - self.began_at)
        until = min(self.until, self.clock.now() + OPEN_MAX_S)
        await self.clock.sleep(self.at - self.clock.now())
        while self.clock.now() - self.at > GUARD_S:
            await self.settle(0)
            self.at = await self.line.wait_for_slot(self.estimate, until, is_connected=True)
            await self.clock.sleep(self.at - self.clock.now())

    async def settle(self, tokens: int) -> None:
        await self.line.settle(self.at, self.estimate, tokens)


class _Unlimited:
    """The permit of a call without limits."""

    async def start(self) -> None:
        return None

    async def settle(self, tokens: int) -> None:
        return None


UNLIMITED = _Unlimited()
