"""Calls to a model that has refused some: each at its turn, no faster than they were let through."""

import anyio

from engine.kinds import Clock, Pace, RateLimited, Transient


class Turns:
    """The turns of one model's calls in this process. Until one is refused there is no waiting."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._next_at = 0.0
        self._changed: anyio.Event | None = None
        self._held_until = 0.0
        self._refusal: RateLimited | Transient | None = None

    async def wait(self, clock: Clock) -> None:
        """Return when a call may start, right now.

        Raises RateLimited, nothing sent, as long as the service has asked to wait.
        """
        while not await self._has_turn(clock):
            pass
        self._pace = self._pace.on_start(clock.now(), 1)

    def refused(self, clock: Clock, error: RateLimited, *, started: float) -> None:
        """The service asked for patience instead of answering the call that started then."""
        self.hold(clock, error)
        self._next_at = 0.0
        self._become(self._pace.on_refusal(clock.now(), started=started))

    def hold(self, clock: Clock, error: RateLimited | Transient) -> None:
        """Let no call start for as long as the service asked to wait, if it did: with a 503, say."""
        until = clock.now() + (error.retry_after_s or 0.0)
        if until > self._held_until:
            self._held_until, self._refusal = until, error

    def answered(self, clock: Clock, *, started: float) -> None:
        """The service took the call that started then."""
        self._become(self._pace.on_answer(clock.now(), started=started))

    async def _has_turn(self, clock: Clock) -> bool:
        """Whether a call may start now; waits for as long as nothing changes if it may not."""
        now = clock.now()
        if self._refusal is not None and now < self._held_until:
            raise RateLimited(
                self._refusal.message,
                detail=self._refusal.detail,
                status=self._refusal.status,
                sent=False,
                retry_after_s=self._held_until - now,
            )
        self._become(self._pace.at(now))
        match self._pace.admits():
            case 0:
                await self._wait(clock, self._pace.admits_at)
                return False
            case 1:
                return True
        rate = self._pace.rate_per_min(now)
        if rate is None:
            return True
        at = max(now, self._next_at)
        self._next_at = at + 60.0 / rate
        return at <= now or not await self._wait(clock, at)

    async def _wait(self, clock: Clock, until: float) -> bool:
        """Wait until then, or until the pace changes: True."""
        if self._changed is None:
            self._changed = anyio.Event()
        return await clock.wait(self._changed, until)

    def _become(self, pace: Pace) -> None:
        if pace is self._pace:
            return
        self._pace = pace
        if self._changed is not None:
            self._changed.set()
            self._changed = None
