"""A side file for answers and replies that cannot be committed, so that nothing paid for is lost.

While the disk is full, they are written as lines of JSON into space that was reserved before. If this worker ends
first, the next process that opens the store recovers them (`leftovers`). Callers wait for their commits, so the file
never holds more than was in flight.
"""

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from engine.core.errors import StoreError
from engine.store.paid import Paid, PaidKey, describe_keys, is_paid, key_of, to_line

logger = logging.getLogger(__name__)

RESERVE_BYTES = 1_048_576
SUFFIX = ".spill"
"""The suffix of a side file, after the worker's id."""


class Lock(Protocol):
    """A lock that shows that a worker is alive."""

    def release(self) -> None:
        """Release the lock."""
        ...


class Spill:
    """The side file of one worker; without a folder there is none, and nothing is kept.

    All methods block; they run in the writer's thread.
    """

    def __init__(self, folder: Path | None, worker_id: str) -> None:
        self._worker_id = worker_id
        self._path = None if folder is None else folder / f"{worker_id}{SUFFIX}"
        self._descriptor: int | None = None
        self._end = 0
        self._kept: set[PaidKey] = set()
        self._is_short = False
        """Whether a warning about missing space was logged."""
        self._lock: Lock | None = None
        """The worker's lock in another folder, if the file was moved there."""

    @property
    def is_open(self) -> bool:
        """Whether the file exists and is open."""
        return self._descriptor is not None

    @property
    def is_missing(self) -> bool:
        """Whether the file does not exist yet but must before anything is sent."""
        return self._path is not None and self._descriptor is None

    def reserve(self) -> None:
        """Create the file and reserve space in it; if that fails, it grows as far as the disk allows."""
        if self._path is None or self._descriptor is not None:
            return
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._descriptor, bytes(RESERVE_BYTES), 0)
        except OSError as error:
            logger.warning("%s: cannot reserve space: %s", self._path, error.strerror)

    def keep(self, paid: Iterable[Paid]) -> None:
        """Write the answers and replies that are not in the file yet, as far as space allows, and wait for the disk.

        `holds` says which are safe then. A lack of space is logged once and never raised.
        """
        new = {key_of(one): one for one in paid if is_paid(one) and not self.holds(one)}
        if not new or self._descriptor is None:
            return
        end, written = self._end, set[PaidKey]()
        for name, one in new.items():
            line = to_line(one)
            if _write(self._descriptor, line, end):
                end += len(line)
                written.add(name)
        try:
            os.fsync(self._descriptor)
        except OSError:
            written.clear()
        else:
            self._end = end
            self._kept |= written
        if len(written) < len(new) and not self._is_short:
            # Logged once, not every second while the disk is full.
            logger.warning("%s: has no space for all uncommitted answers", self._path)
        self._is_short = len(written) < len(new)

    def holds(self, one: Paid) -> bool:
        """Whether an answer or a reply is safe in the file."""
        return key_of(one) in self._kept

    @property
    def count(self) -> int:
        """The number of answers and replies in the file."""
        return len(self._kept)

    @property
    def contents(self) -> str:
        """The content of the file in words: `2 answers and 1 reply`; empty for none."""
        return describe_keys(self._kept)

    @property
    def is_used(self) -> bool:
        """Whether the file holds anything."""
        return bool(self._kept)

    @property
    def place(self) -> Path:
        """The present path of the file, also after its folder was moved."""
        assert self._path is not None, "without a folder nothing is kept"
        if self._descriptor is not None:
            with suppress(OSError):
                found = Path(f"/proc/self/fd/{self._descriptor}").readlink()
                return found if found.exists() else self._path
        return self._path

    def find_place(self, folder: Path, *, moves: bool, lock: Callable[[Path, str], Lock]) -> None:
        """Make sure that the file can be found: keep it, move it to `folder` if `moves`, or create a new one there.

        In `folder`, this worker takes the `lock` of its id, so that no other process recovers the file meanwhile.
        """
        if self._has_name() and not moves:
            return
        target = folder / f"{self._worker_id}{SUFFIX}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            with suppress(StoreError):  # This worker may hold the lock already.
                self._lock = lock(folder, self._worker_id)
            if self._has_name():
                self.place.rename(target)
                self._path = target
                return
        except OSError as error:
            logger.warning(
                "%s: uncommitted answers cannot be kept there: %s", folder, error.strerror
            )
            return
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._path, self._descriptor, self._end = target, None, 0
        self._kept.clear()
        self.reserve()

    def _has_name(self) -> bool:
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink > 0

    def forget(self, committed: Iterable[Paid]) -> None:
        """Drop what was committed, before its callers are released; clear the file once it holds nothing else.

        A file that cannot be cleared is logged: recovering it again changes nothing.
        """
        self._kept -= {key_of(one) for one in committed}
        if self._kept or self._descriptor is None:
            return
        try:
            # A zero byte ends the file's text; the space stays reserved.
            os.pwrite(self._descriptor, bytes(self._end), 0)
            os.fsync(self._descriptor)
        except OSError as error:
            # Harmless: entries that are stored already change nothing when the file is recovered.
            logger.warning("%s: cannot be cleared: %s", self._path, error.strerror)
        else:
            self._end = 0

    def close(self) -> None:
        """Close the file, and remove it unless it holds something to be recovered."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if not self._kept and self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()


def _write(descriptor: int, line: bytes, at: int) -> bool:
    """Write a line; returns False if it does not fit, and the next line is written over it."""
    try:
        return os.pwrite(descriptor, line, at) == len(line)
    except OSError:
        return False
