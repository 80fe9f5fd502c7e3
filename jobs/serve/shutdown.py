"""What is under way, and what becomes of it when the service is stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from engine.kinds import Clock
from jobs.serve.api_errors import ApiError


@dataclass(slots=True, eq=False)
class Work:
    """Something under way; it has its grace from when it `has_begun`."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    has_begun: bool = False


class Shutdown:
    """Ends a service in two steps: `drain` lets what has begun go on for a while, `stop` breaks it off."""

    def __init__(self, clock: Clock, *, retry_after_s: int) -> None:
        self._clock = clock
        self._retry_after_s = retry_after_s
        self._working: set[Work] = set()
        self._reading: set[Work] = set()
        self._idle = anyio.Event()
        self._is_closing = False

    async def drain(self, grace_s: float) -> None:
        """Take on nothing more, send away what has not begun, and give what has its grace."""
        self._is_closing = True
        for work in (*self._working, *self._reading):
            if not work.has_begun:
                work.scope.cancel()
        if self._working:
            await self._clock.wait(self._idle, self._clock.now() + grace_s)

    def stop(self) -> None:
        """Break off what is left."""
        self._is_closing = True
        for work in (*self._working, *self._reading):
            work.scope.cancel()

    @contextmanager
    def working(self) -> Iterator[Work]:
        """Work that a stopping service waits for; raises ApiError (503) when it takes on no more."""
        if self._is_closing:
            raise self._api_error()
        with self._among(self._working) as work:
            yield work

    @contextmanager
    def reading(self) -> Iterator[Work]:
        """Waiting for the rest of a request, which a stopping service does not; raises ApiError (503)."""
        with self._among(self._reading) as work:
            yield work

    @contextmanager
    def _among(self, under_way: set[Work]) -> Iterator[Work]:
        work = Work()
        under_way.add(work)
        try:
            with work.scope:
                yield work
            if work.scope.cancelled_caught:
                raise self._api_error()
        finally:
            under_way.discard(work)
            if self._is_closing and not self._working:
                self._idle.set()

    def _api_error(self) -> ApiError:
        return ApiError(
            503,
            "this service is being stopped; ask again later: what was paid for is kept",
            retry_after_s=self._retry_after_s,
        )
