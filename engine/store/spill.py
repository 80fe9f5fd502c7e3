"""Answers and replies that cannot be committed, in a side file until they are: nothing paid for is lost.

While the disk is full, what is in hand is written, a line of JSON each, into space that was set aside
when there was some. Whoever opens the store after this worker is gone takes it in (`leftovers`). Whoever
writes waits for the disk, so that no more comes into the file than is in flight.
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
"""What the name of a side file ends with, behind the worker's."""


class Lock(Protocol):
    """What says that a worker is there."""

    def release(self) -> None:
        """Let go of it."""
        ...


class Spill:
    """The side file of one worker; without a folder there is none, and nothing is kept. Blocking: for the writer's thread."""

    def __init__(self, folder: Path | None, worker_id: str) -> None:
        self._worker_id = worker_id
        self._path = None if folder is None else folder / f"{worker_id}{SUFFIX}"
        self._descriptor: int | None = None
        self._end = 0
        self._kept: set[PaidKey] = set()
        self._is_short = False
        """Whether it was said that not everything fits."""
        self._lock: Lock | None = None
        """Says that its worker is there beside a file that is in another folder now."""

    @property
    def is_open(self) -> bool:
        """Whether there is a file to keep anything in."""
        return self._descriptor is not None

    @property
    def is_missing(self) -> bool:
        """Whether there is no file, and should be one before anything is sent."""
        return self._path is not None and self._descriptor is None

    def reserve(self) -> None:
        """Set space aside while there is some; without it the file grows as far as the disk allows."""
        if self._path is None or self._descriptor is not None:
            return
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._descriptor, bytes(RESERVE_BYTES), 0)
        except OSError as error:
            logger.warning("%s: no space can be set aside: %s", self._path, error.strerror)

    def keep(self, paid: Iterable[Paid]) -> None:
        """Write down the answers and replies that are not in the file yet, as far as there is space."""
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
            # Once, not each second for as long as the disk is full.
            logger.warning("%s: has no space for all that is in hand", self._path)
        self._is_short = len(written) < len(new)

    def holds(self, one: Paid) -> bool:
        """Whether an answer or a reply is safe in the file."""
        return key_of(one) in self._kept

    @property
    def count(self) -> int:
        """How many answers and replies are in the file."""
        return len(self._kept)

    @property
    def contents(self) -> str:
        """The same in words: `2 answers and 1 reply`; empty for nothing."""
        return describe_keys(self._kept)

    @property
    def is_used(self) -> bool:
        """Whether anything is in the file."""
        return bool(self._kept)

    @property
    def place(self) -> Path:
        """Where the file is, also after its folder was moved."""
        assert self._path is not None, "without a folder nothing is kept"
        if self._descriptor is not None:
            with suppress(OSError):
                found = Path(f"/proc/self/fd/{self._descriptor}").readlink()
                return found if found.exists() else self._path
        return self._path

    def find_place(self, folder: Path, *, moves: bool, lock: Callable[[Path, str], Lock]) -> None:
        """Have a file that can be found: the one there is, moved to `folder` if it `moves`, or a new one there.

        No other process takes it in while this worker lives: it holds a `lock` there by its id.
        """
        if self._has_name() and not moves:
            return
        target = folder / f"{self._worker_id}{SUFFIX}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            with suppress(StoreError):  # where this worker holds its lock already
                self._lock = lock(folder, self._worker_id)
            if self._has_name():
                self.place.rename(target)
                self._path = target
                return
        except OSError as error:
            logger.warning("%s: what is in hand cannot be kept there: %s", folder, error.strerror)
            return
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._path, self._descriptor, self._end = target, None, 0
        self._kept.clear()
        self.reserve()

    def _has_name(self) -> bool:
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink > 0

    def forget(self, committed: Iterable[Paid]) -> None:
        """Drop what its callers are about to be told is committed; clear the file once it holds nothing else."""
        self._kept -= {key_of(one) for one in committed}
        if self._kept or self._descriptor is None:
            return
        try:
            # Ends the text of the file and keeps the space.
            os.pwrite(self._descriptor, bytes(self._end), 0)
            os.fsync(self._descriptor)
        except OSError as error:
            # Harmless: what is in the store already changes nothing when the file is read.
            logger.warning("%s: cannot be cleared: %s", self._path, error.strerror)
        else:
            self._end = 0

    def close(self) -> None:
        """Leave the file behind only if somebody has to take it in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if not self._kept and self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()


def _write(descriptor: int, line: bytes, at: int) -> bool:
    """Write a line; False where there is no space for all of it: the next one is written over its beginning."""
    try:
        return os.pwrite(descriptor, line, at) == len(line)
    except OSError:
        return False
