"""The event log of a run: what the scheduler did on its own, in the store and in the log of the process."""

import logging

from engine.core.runs import EventKind
from engine.scheduler.assignment import Assignment
from engine.scheduler.lane import Lane
from engine.scheduler.steering import Steering
from engine.secrets import without_secrets
from engine.store import Store

logger = logging.getLogger(__name__)

_TOLD_AT_ONCE = (EventKind.OUTAGE, EventKind.BACK, EventKind.MACHINE)


class EventLog:
    """Adds lines to the event log of one run."""

    def __init__(self, store: Store, assignment: Assignment, steering: Steering) -> None:
        self._store = store
        self._run = assignment
        self._steering = steering

    async def note(self, kind: EventKind, message: str, lane: Lane | None = None) -> None:
        """Add a line about the run or one of its lanes, without keys, and log it.

        The line is in the store when this returns. A full store is ignored while the run ends; at any other time
        a store that cannot be written raises StoreError.
        """
        name, message = None if lane is None else lane.name, without_secrets(message)
        # Warnings are shown whatever the progress looks like.
        level = logging.WARNING if kind in _TOLD_AT_ONCE else logging.INFO
        text = message if name is None else f"{name}: {message}"
        logger.log(level, "%s: %s", kind, text, extra={"run": self._run.run, "lane": name})
        with self._steering.leaving_full_store():
            await self._store.runs.add_event(self._run.run_id, kind, message, lane=name)
