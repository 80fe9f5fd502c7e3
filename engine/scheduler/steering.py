"""What stops a run in this process, and what wakes its loop."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import anyio

from engine.clock import Clock
from engine.core.errors import StoreError
from engine.core.runs import StopReason
from engine.scheduler.assignment import Assignment, Stop
from engine.secrets import without_secrets
from engine.store import Store

logger = logging.getLogger(__name__)

_WAIT_MAX_S = 3600.0


class Steering:
    """Stops a run, and wakes its loop; every part of the scheduler may do either."""

    def __init__(self, store: Store, clock: Clock, assignment: Assignment) -> None:
        self._store = store
        self._clock = clock
        self._run = assignment
        self._wake = anyio.Event()
        self.stopped: Stop | None = None
        """Why nothing more is started; None while the run goes on."""

    def stop(self, reason: StopReason, message: str, resume_at: float | None = None) -> None:
        """Start nothing more; the first reason counts, and later ones are ignored.

        The message is cleaned of keys. `resume_at` is when the run can go on, in seconds since the epoch; None if
        that does not depend on time.
        """
        if self.stopped is None:
            message = without_secrets(message)
            logger.info("%s stops (%s): %s", self._run.run, reason, message)
            self.stopped = Stop(reason=reason, message=message, resume_at=resume_at)
        self.wake()

    def stop_for_lost_store(self) -> None:
        """Start nothing more, since the store has vanished; jobs in flight may end within the grace."""
        self.stop(StopReason.INTERRUPTED, "the store has vanished")

    def wake(self) -> None:
        """Let the loop check again what may be started."""
        self._wake.set()

    def listen(self) -> None:
        """Notice each `wake` from here on: the checks that follow may miss what it is about."""
        if self._wake.is_set():
            self._wake = anyio.Event()

    async def wait(self, until: float) -> None:
        """Wait for a `wake` since `listen`, until `until` (seconds since the epoch) or for an hour at most.

        Returns at once if there was one since, or if the time has passed.
        """
        await self._clock.wait(self._wake, min(until, self._clock.now() + _WAIT_MAX_S))

    @contextmanager
    def leaving_full_store(self) -> Iterator[None]:
        """Ignore a full store while leaving: the next process to open it takes back what was in flight.

        If the store has vanished, stop, and let jobs in flight end.
        """
        try:
            yield
        except StoreError:
            if self._store.is_lost:
                self.stop_for_lost_store()
                return
            is_leaving = self.stopped is not None or anyio.current_effective_deadline() == -inf
            if self._store.trouble is None or not is_leaving:
                raise
