"""Which workers of a store are alive, and which are dead.

A worker is one opening of a store by one process. While it lives, it holds an operating-system lock on its own file.
The system releases the lock as soon as the process dies, so its jobs are reclaimed without waiting for a lease. The
heartbeat detects what a lock cannot: a stopped or hung process is declared dead once an observer has seen the same
heartbeat for the whole lease, measured by the observer's own clock, so that a laptop does not lose its jobs by
sleeping.
"""

import fcntl
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread
from filelock import FileLock
from sqlalchemy.engine import Connection

from engine.core.errors import StoreError

LEASE_S = 60.0
"""How long a heartbeat may stay the same before the worker's jobs are reclaimed."""
OBSERVATION_MAX_S = 10.0
"""The most that one observation adds to that time: an observer that was stopped has not observed meanwhile."""
_LOCK = ".lock"
"""The suffix of a worker's lock file."""


def workers_folder(store: Path) -> Path:
    """The folder with the locks of a store's workers: next to the store's file, with links resolved."""
    real = store.resolve()
    return real.with_name(f"{real.name}.workers")


class WorkerLock:
    """This worker's identity: a new UUID, and the lock that shows that it is alive.

    With a `worker_id`, it is a further lock of an existing worker, in another folder. Raises StoreError if the lock
    cannot be acquired.
    """

    def __init__(self, folder: Path, worker_id: str | None = None) -> None:
        self.id = worker_id or str(uuid.uuid4())
        self.host = socket.gethostname()
        self.pid = os.getpid()
        self.is_registered = False
        """Whether the store has this worker's row, without its end."""
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = FileLock(_lock_file(folder, self.id), mode=0o600)
            self._lock.acquire(timeout=0)
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot lock a file there ({error.strerror or error}); the folder next to the"
                " store must be writable"
            ) from None

    def release(self) -> None:
        """Release the lock; its file stays if the store does not know of the end, so that others find this worker dead."""
        self._lock.release()
        if not self.is_registered:
            Path(self._lock.lock_file).unlink(missing_ok=True)


@dataclass(slots=True)
class _Watched:
    """The last heartbeat of a worker, when it was last checked, and how long it has been the same."""

    beat: float
    checked_at: float
    unchanged_s: float = 0.0


class FileLiveness:
    """Detects dead workers by their lock files and heartbeats, as one observer."""

    def __init__(self, folder: Path, own_id: str) -> None:
        self._folder = folder
        self._own_id = own_id
        self._seen: dict[str, _Watched] = {}

    async def look(self) -> None:
        """The locks are looked at one by one, when they are asked about."""

    def look_within(self, connection: Connection) -> None:
        """The locks are looked at one by one, when they are asked about."""

    def is_dead(self, worker_id: str, heartbeat_at: float, now: float) -> bool:
        """Whether a worker's jobs may be reclaimed: its lock is free, or its heartbeat has not changed for LEASE_S."""
        if worker_id == self._own_id:
            return False
        if _is_free(_lock_file(self._folder, worker_id)):
            return True
        seen = self._seen.get(worker_id)
        if seen is None or seen.beat != heartbeat_at:
            self._seen[worker_id] = _Watched(heartbeat_at, now)
            return False
        seen.unchanged_s += min(now - seen.checked_at, OBSERVATION_MAX_S)
        seen.checked_at = now
        return seen.unchanged_s > LEASE_S

    def has_gone(self, worker_id: str) -> bool:
        """Whether a worker's lock is free or its file was removed."""
        lock_file = _lock_file(self._folder, worker_id)
        return _is_free(lock_file) or not os.path.lexists(lock_file)

    async def find_ended(self, worker_ids: Sequence[str]) -> list[str]:
        """The workers among these that have ended; their lock files are checked in a thread."""
        if not worker_ids:
            return []
        return await to_thread.run_sync(lambda: list(filter(self.has_gone, worker_ids)))

    def alive(self) -> list[str]:
        """The workers whose locks are held, regardless of their heartbeats."""
        ids = [lock_file.stem for lock_file in self._folder.glob(f"*{_LOCK}")]
        return [worker_id for worker_id in ids if not self.has_gone(worker_id)]

    def forget(self, worker_id: str) -> None:
        """Remove the lock file of a dead worker."""
        self._seen.pop(worker_id, None)
        lock_file = _lock_file(self._folder, worker_id)
        if _is_free(lock_file):
            lock_file.unlink(missing_ok=True)


def _lock_file(folder: Path, worker_id: str) -> Path:
    return folder / f"{worker_id}{_LOCK}"


def _is_free(lock_file: Path) -> bool:
    """Whether no process holds a lock, as far as this user can see; writes nothing."""
    # A missing file proves nothing, because it may have been removed by hand; the heartbeat decides.
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
