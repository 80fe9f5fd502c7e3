"""Who is working on the store, and who has died.

A worker is one opening of a store by one process. It holds an operating-system lock on a file of its
own for as long as it lives; the system frees the lock at once when the process dies, however it
dies, so nobody waits for a lease. The heartbeat covers what a lock cannot tell: a process that is
stopped or hung is given up once an observer has seen the same heartbeat for the whole lease, by the
observer's own clock (so a laptop that slept does not lose its jobs on waking).
"""

import os
import socket
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

from engine.core.errors import StoreError

LEASE_S = 60.0
"""How long a heartbeat may stand still before the worker's jobs are given to others."""


class WorkerLock:
    """This worker's identity: a new UUID, and the lock that proves it alive."""

    def __init__(self, folder: Path) -> None:
        self.id = str(uuid.uuid4())
        self.host = socket.gethostname()
        self.pid = os.getpid()
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = FileLock(_lock_file(folder, self.id), mode=0o600)
            self._lock.acquire(timeout=0)
        except OSError as error:
            raise StoreError(f"{folder}: cannot hold a worker's lock: {error.strerror}") from None

    def release(self) -> None:
        """Say that this worker is gone."""
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)


class Liveness:
    """Tells dead workers from live ones, as one observer sees them."""

    def __init__(self, folder: Path, own_id: str) -> None:
        self._folder = folder
        self._own_id = own_id
        self._seen: dict[str, tuple[float, float]] = {}

    def is_dead(self, worker_id: str, heartbeat_at: float, now: float) -> bool:
        """Whether a worker's jobs may be taken: its lock is free, or its heart stood still too long."""
        if worker_id == self._own_id:
            return False
        if _is_free(_lock_file(self._folder, worker_id)):
            return True
        beat, since = self._seen.get(worker_id, (heartbeat_at, now))
        if beat != heartbeat_at:
            since = now
        self._seen[worker_id] = (heartbeat_at, since)
        return now - since > LEASE_S

    def forget(self, worker_id: str) -> None:
        """Remove what a dead worker left behind."""
        self._seen.pop(worker_id, None)
        lock_file = _lock_file(self._folder, worker_id)
        if _is_free(lock_file):
            lock_file.unlink(missing_ok=True)


def _lock_file(folder: Path, worker_id: str) -> Path:
    return folder / f"{worker_id}.lock"


def _is_free(lock_file: Path) -> bool:
    # A file that is missing proves nothing (someone may have tidied up): the heartbeat decides.
    if not lock_file.exists():
        return False
    try:
        with FileLock(lock_file, timeout=0):
            return True
    except Timeout:
        return False
    except OSError:
        return False
