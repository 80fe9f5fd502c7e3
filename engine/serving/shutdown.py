"""Tracks work in progress, and ends it when the server shuts down."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from engine.clock import Clock
from engine.serving.errors import ApiError


@dataclass(slots=True, eq=False)
class Work:
    """Work in progress. A shutdown waits for it if it `has_begun`, and otherwise cancels it at once."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    has_begun: bool = False


class Shutdown:
    """Shuts a server down in two steps: `drain` lets running work finish for a while, `stop` cancels it."""

    def __init__(self, clock: Clock, *, retry_after_s: int) -> None:
        self._clock = clock
        self._retry_after_s = retry_after_s
        self._working: set[Work] = set()
        self._reading: set[Work] = set()
        self._idle = anyio.Event()
        self._is_closing = False

    async def drain(self, grace_s: float) -> None:
        """Reject new work, cancel what has not begun, and wait up to `grace_s` seconds for the rest."""
        self._is_closing = True
        for work in (*self._working, *self._reading):
            if not work.has_begun:
                work.scope.cancel()
        if self._working:
            await self._clock.wait(self._idle, self._clock.now() + grace_s)

    def stop(self) -> None:
        """Cancel all work that is left."""
        self._is_closing = True
        for work in (*self._working, *self._reading):
            work.scope.cancel()

    @contextmanager
    def working(self) -> Iterator[Work]:
        """Run the block as work that a shutdown waits for. Raises ApiError (503) if one rejects or cancels it."""
        if self._is_closing:
            raise self._rejection()
        with self._track(self._working) as work:
            yield work

    @contextmanager
    def reading(self) -> Iterator[Work]:
        """Run the block, which receives a request, until a shutdown cancels it. Raises ApiError (503) then."""
        with self._track(self._reading) as work:
            yield work

    @contextmanager
    def _track(self, group: set[Work]) -> Iterator[Work]:
        work = Work()
        group.add(work)
        try:
            with work.scope:
                yield work
            if work.scope.cancelled_caught:
                raise self._rejection()
        finally:
            group.discard(work)
            if self._is_closing and not self._working:
                self._idle.set()

    def _rejection(self) -> ApiError:
        return ApiError(
            503,
            "this service is shutting down; try again later",
            retry_after_s=self._retry_after_s,
        )
