"""Which workers of a store are alive, and which are dead.

While it lives, a worker holds a session lock in the database. The server releases it once the worker's connection has
ended, which it notices at once when a process dies. But the connection also ends when a network or the server itself
fails, while the worker lives on and reconnects. So a free lock counts as the end of a worker only once it was seen
free for GRACE_S, or if the worker's process ran on this machine and is gone.
"""

import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from sqlalchemy.engine import Connection

from engine.store.postgres.locks import HELD_BY_WORKERS, key_of
from engine.store.queries import workers

Ask: TypeAlias = Callable[[Callable[[Connection], None]], Awaitable[None]]
"""Answers a question in a read transaction."""

LEASE_S = 60.0
"""How long a heartbeat may stay the same before the worker's jobs are reclaimed, although it holds its lock."""
GRACE_S = 15.0
"""How long a lock must have been seen free before its worker counts as ended."""
OBSERVATION_MAX_S = 10.0
"""The most that one observation adds to these times: an observer that was stopped has not observed meanwhile."""


_open_here: set[str] = set()
"""The ids of the workers of this process."""


class SessionIdentity:
    """This worker: a new UUID."""

    def __init__(self) -> None:
        self.id = str(uuid.uuid4())
        self.host = socket.gethostname()
        self.pid = os.getpid()
        self.is_registered = False
        """Whether the store has this worker's row, without its end."""
        _open_here.add(self.id)

    def release(self) -> None:
        """End the worker, for the others of this process."""
        _open_here.discard(self.id)


@dataclass(slots=True)
class _Watched:
    """For how long something about a worker has been the same, in seconds of the observer's own."""

    value: float
    checked_at: float
    same_s: float = 0.0

    def observe(self, value: float, now: float) -> float:
        if value != self.value:
            self.value, self.same_s = value, 0.0
        else:
            self.same_s += min(now - self.checked_at, OBSERVATION_MAX_S)
        self.checked_at = now
        return self.same_s


class SessionLiveness:
    """Detects dead workers by their locks, as of the last `look`, and by their heartbeats, as one observer."""

    def __init__(self, own: SessionIdentity | None, ask: Ask) -> None:
        self._own_id = "" if own is None else own.id
        self._host = socket.gethostname()
        self._ask = ask
        self._held: set[int] = set()
        self._open: dict[str, workers.OtherWorker] = {}
        self._free: dict[str, _Watched] = {}
        self._beats: dict[str, _Watched] = {}

    async def look(self) -> None:
        """Look up which workers hold their locks; raises StoreError if the server cannot be asked."""
        await self._ask(self.look_within)

    def look_within(self, connection: Connection) -> None:
        """Look up, on this connection, which workers hold their locks."""
        self._open = {one.id: one for one in workers.find_others(connection, self._own_id)}
        self._held = {key for (key,) in connection.exec_driver_sql(HELD_BY_WORKERS)}

    def is_dead(self, worker_id: str, heartbeat_at: float, now: float) -> bool:
        """Whether a worker's jobs may be reclaimed: it has ended, or its heartbeat has not changed for LEASE_S."""
        if worker_id == self._own_id:
            return False
        if self.has_gone(worker_id):
            return True
        return self._watch(self._beats, worker_id, heartbeat_at) > LEASE_S

    def has_gone(self, worker_id: str) -> bool:
        """Whether a worker has surely ended, as of the last `look`."""
        if worker_id == self._own_id or key_of(worker_id) in self._held:
            self._free.pop(worker_id, None)
            return False
        row = self._open.get(worker_id)
        if row is None or (row.host == self._host and not _is_here(row)):
            return True
        return self._watch(self._free, worker_id, 0.0) > GRACE_S

    async def find_ended(self, worker_ids: Sequence[str]) -> list[str]:
        """Those of these workers that have surely ended."""
        if not worker_ids:
            return []
        await self.look()
        return list(filter(self.has_gone, worker_ids))

    def forget(self, worker_id: str) -> None:
        """Forget what was observed of a dead worker."""
        self._free.pop(worker_id, None)
        self._beats.pop(worker_id, None)

    def _watch(self, watched: dict[str, _Watched], worker_id: str, value: float) -> float:
        """Seconds for which a value has been seen unchanged."""
        now = monotonic()
        one = watched.setdefault(worker_id, _Watched(value, now))
        return one.observe(value, now)


def _is_here(worker: workers.OtherWorker) -> bool:
    """Whether a worker of this machine may still be there, judged by its process."""
    if worker.pid == os.getpid():
        return worker.id in _open_here
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
