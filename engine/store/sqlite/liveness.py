"""Who is working on the store, and who has died.

A worker is one opening of a store by one process. It holds an operating-system lock on a file of its
own for as long as it lives; the system frees the lock at once when the process dies, however it
dies, so nobody waits for a lease. The heartbeat covers what a lock cannot tell: a process that is
stopped or hung is given up once an observer has seen the same heartbeat for the whole lease, by the
observer's own clock (so a laptop that slept does not lose its jobs on waking).
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

from engine.core.errors import StoreError

LEASE_S = 60.0
"""How long a heartbeat may stand still before the worker's jobs are given to others."""
LOOK_MAX_S = 10.0
"""The most that one look adds to that: an observer that was itself stopped has not been watching."""
_LOCK = ".lock"
"""What the name of a worker's lock file ends with."""


def workers_folder(store: Path) -> Path:
    """The folder beside a store in which its workers hold their locks, whatever links lead to it."""
    real = store.resolve()
    return real.with_name(f"{real.name}.workers")


class WorkerLock:
    """This worker's identity: a new UUID, and the lock that proves it alive.

    With a `worker_id` it is another lock, in another folder, of a worker that has one. Raises StoreError
    when the lock cannot be held.
    """

    def __init__(self, folder: Path, worker_id: str | None = None) -> None:
        self.id = worker_id or str(uuid.uuid4())
        self.host = socket.gethostname()
        self.pid = os.getpid()
        self.is_missed = False
        """Whether the store tells of this worker as one that is there."""
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = FileLock(_lock_file(folder, self.id), mode=0o600)
            self._lock.acquire(timeout=0)
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot hold a worker's lock there ({error.strerror or error}); the folder"
                " beside the store has to be writable"
            ) from None

    def release(self) -> None:
        """Let go of the lock: free, it says that this worker has died, if it could not say so itself."""
        self._lock.release()
        if not self.is_missed:
            Path(self._lock.lock_file).unlink(missing_ok=True)


@dataclass(slots=True)
class _Watched:
    """A heartbeat, for how long it has been seen to stand still, and when that was last looked at."""

    beat: float
    looked_at: float
    still_s: float = 0.0


class FileLiveness:
    """Tells dead workers from live ones by their lock files, as one observer sees them."""

    def __init__(self, folder: Path, own_id: str) -> None:
        self._folder = folder
        self._own_id = own_id
        self._seen: dict[str, _Watched] = {}

    def is_dead(self, worker_id: str, heartbeat_at: float, now: float) -> bool:
        """Whether a worker's jobs may be taken: its lock is free, or its heart stood still too long."""
        if worker_id == self._own_id:
            return False
        if _is_free(_lock_file(self._folder, worker_id)):
            return True
        seen = self._seen.get(worker_id)
        if seen is None or seen.beat != heartbeat_at:
            self._seen[worker_id] = _Watched(heartbeat_at, now)
            return False
        seen.still_s += min(now - seen.looked_at, LOOK_MAX_S)
        seen.looked_at = now
        return seen.still_s > LEASE_S

    def has_gone(self, worker_id: str) -> bool:
        """Whether a worker's lock is free, or was removed since."""
        lock_file = _lock_file(self._folder, worker_id)
        return _is_free(lock_file) or not os.path.lexists(lock_file)

    async def find_ended(self, worker_ids: Sequence[str]) -> list[str]:
        """Those of these workers that have ended; their lock files are looked at in a thread."""
        if not worker_ids:
            return []
        return await to_thread.run_sync(lambda: list(filter(self.has_gone, worker_ids)))

    def alive(self) -> list[str]:
        """The workers whose locks are held, whatever their hearts do."""
        ids = [lock_file.stem for lock_file in self._folder.glob(f"*{_LOCK}")]
        return [worker_id for worker_id in ids if not self.has_gone(worker_id)]

    def forget(self, worker_id: str) -> None:
        """Remove what a dead worker left behind."""
        self._seen.pop(worker_id, None)
        lock_file = _lock_file(self._folder, worker_id)
        if _is_free(lock_file):
            lock_file.unlink(missing_ok=True)


def _lock_file(folder: Path, worker_id: str) -> Path:
    return folder / f"{worker_id}{_LOCK}"


def _is_free(lock_file: Path) -> bool:
    """Whether nobody holds a lock, as far as this user can see; writes nothing."""
    # A file that is missing proves nothing (someone may have tidied up): the heartbeat decides.
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
