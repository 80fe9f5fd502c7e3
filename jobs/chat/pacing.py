"""Paces the calls to a model after it has rate limited one: no faster than it answered before."""

import anyio

from engine.kinds import Clock, Pace, RateLimited, Transient


class CallPacer:
    """Paces one model's calls in this process. Until a call is rate limited, none of them waits."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._next_at = 0.0
        self._changed: anyio.Event | None = None
        self._held_until = 0.0
        self._refusal: RateLimited | Transient | None = None

    async def wait(self, clock: Clock) -> None:
        """Wait until a call may start.

        Raises RateLimited, with nothing sent, while a Retry-After of the service has not passed.
        """
        while not await self._has_turn(clock):
            pass
        self._pace = self._pace.on_start(clock.now(), 1)

    def on_refusal(self, clock: Clock, error: RateLimited, *, started: float) -> None:
        """Note that the service rate limited the call that started at `started` (epoch seconds).

        Calls that wait go on at the pace that the service has shown, one first as a test, and none before
        the error's Retry-After has passed.
        """
        self.hold(clock, error)
        self._next_at = 0.0
        self._set_pace(self._pace.on_refusal(clock.now(), started=started))

    def hold(self, clock: Clock, error: RateLimited | Transient) -> None:
        """Let no call start until the error's Retry-After has passed, if it has one.

        `wait` then raises RateLimited. A hold that lasts longer already stays as it is.
        """
        until = clock.now() + (error.retry_after_s or 0.0)
        if until > self._held_until:
            self._held_until, self._refusal = until, error

    def on_answer(self, clock: Clock, *, started: float) -> None:
        """Note that the service answered the call that started at `started` (epoch seconds).

        If that was the test after a refusal, waiting calls follow it.
        """
        self._set_pace(self._pace.on_answer(clock.now(), started=started))

    async def _has_turn(self, clock: Clock) -> bool:
        """Whether a call may start now; if not, waits until that may have changed."""
        now = clock.now()
        if self._refusal is not None and now < self._held_until:
            raise RateLimited(
                self._refusal.message,
                detail=self._refusal.detail,
                status=self._refusal.status,
                sent=False,
                retry_after_s=self._held_until - now,
            )
        self._set_pace(self._pace.at(now))
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
        """Wait until a time; returns True if the pace changed before it."""
        if self._changed is None:
            self._changed = anyio.Event()
        return await clock.wait(self._changed, until)

    def _set_pace(self, pace: Pace) -> None:
        if pace is self._pace:
            return
        self._pace = pace
        if self._changed is not None:
            self._changed.set()
            self._changed = None
