"""When the requests of a run start: each in a slot of its rates, at the moment it is written."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from engine.clock import Clock
from engine.core.errors import NotNow
from engine.core.rates import GUARD_S
from engine.permits import CONNECT_MEMORY, LeadTime
from engine.starts import OPEN_MAX_S, Start, starting_with
from engine.store import Bucket, Claimed, Store

T = TypeVar("T")

_QUESTION_MAX_S = 65.0
"""The longest that a question waits for its slot: longer than the window of a rate."""
_AHEAD_MAX_S = 4.0
"""The longest time before its slot that a connection is opened."""


_NO_RUN = 0
"""Stands for the run before there is one."""


async def ask_counted(
    store: Store,
    clock: Clock,
    question: Callable[[], Awaitable[T]],
    account: str,
    rate_per_min: int | None,
) -> T:
    """Ask a service something before there is a run; the account's rate counts the requests.

    Returns what `question` returns and raises what it raises. `rate_per_min` is the sweep's own limit; the
    lower ones of other processes apply as well.
    """
    turns = Turns(store, clock, _NO_RUN)
    try:
        return await turns.ask(question, (Bucket(name=account, rate_per_min=rate_per_min),))
    finally:
        await store.limits.release(_NO_RUN)


class Turns:
    """Slots for requests that are about to be written: a claim's own, or another where that has passed.

    `ahead_s` is how long before its slot an attempt begins, so that its connection is open by then; it is learnt from
    those that report when they write. Each further request of an attempt has a slot of its own.
    """

    def __init__(self, store: Store, clock: Clock, run_id: int) -> None:
        self._store = store
        self._clock = clock
        self._run_id = run_id
        self._ahead = LeadTime(memory=CONNECT_MEMORY)
        self.is_used = False
        """Whether attempts say when they write: then one that is late gets another slot by then."""
        self._commit = LeadTime()

    @property
    def ahead_s(self) -> float:
        return min(self._ahead.seconds, _AHEAD_MAX_S)

    def of(
        self,
        claimed: Claimed,
        buckets: Callable[[], Sequence[Bucket]],
        may_start: Callable[[float], bool],
    ) -> Start:
        """How the requests of an attempt start, whose rates are `buckets`, while they may.

        The function waits for the attempt's slot, or takes another if that has passed, and raises NotNow where
        `may_start` refuses the time.
        """
        at: float | None = claimed.start_at
        began = self._clock.now()

        async def start() -> None:
            nonlocal at
            self.is_used = True
            slot, at = at, None
            if slot is not None and claimed.is_rated:
                self._ahead.adapt(self._clock.now() - began)
                await self._clock.sleep(slot - self._clock.now())
            is_late = slot is not None and self._clock.now() > slot + GUARD_S
            if slot is None or (claimed.is_rated and is_late):
                await self._take(buckets(), instead_of=slot)
            if not may_start(self._clock.now()):
                raise NotNow("the request may not start now")

        return start

    async def ask(self, question: Callable[[], Awaitable[T]], buckets: Sequence[Bucket]) -> T:
        """Ask a service something; the rates in `buckets` count each request that it takes.

        Each request waits for a slot of its own, and raises NotNow if none is free soon. Returns what
        `question` returns and raises what it raises.
        """
        with starting_with(lambda: self._take(buckets, patience_s=_QUESTION_MAX_S)):
            return await question()

    async def _take(
        self,
        buckets: Sequence[Bucket],
        instead_of: float | None = None,
        *,
        patience_s: float = OPEN_MAX_S,
    ) -> None:
        """Return in a slot of its own; `instead_of` is a slot that has passed unused and is given back."""
        until = self._clock.now() + patience_s
        while True:
            granted = await self._store.limits.take_start(
                self._run_id, buckets, instead_of=instead_of, lead_s=self._commit.seconds
            )
            instead_of = None
            if granted.slots:
                [at] = granted.slots
                self._commit.adapt(self._clock.now() - granted.asked_at)
                await self._clock.sleep(at - self._clock.now())
                if self._clock.now() <= at + GUARD_S:
                    return
                instead_of = at
            elif granted.next_at > until:
                raise NotNow("no slot of the rate is free soon")
            else:
                await self._clock.sleep(granted.next_at - self._clock.now())
