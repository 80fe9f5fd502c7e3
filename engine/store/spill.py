"""Answers that cannot be committed, in a side file until they are: nothing paid for is lost.

While the disk is full, the answers in hand are written, a line of JSON each, into space that was set
aside when there was some. Whoever opens the store after this worker is gone takes them in; an answer
that was committed after all is found to be there already, and changes nothing.
"""

import base64
import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.core.model import Answer, Measurement
from engine.core.states import AttemptOutcome, Event
from engine.store.requests import Outcome

logger = logging.getLogger(__name__)

RESERVE_BYTES = 1_048_576
_SUFFIX = ".spill"


class Spill:
    """The side file of one worker. Blocking: for the writer's thread."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._path = folder / f"{worker_id}{_SUFFIX}"
        self._descriptor: int | None = None
        self._end = 0
        self._kept: set[tuple[int, int]] = set()

    def reserve(self) -> None:
        """Set space aside while there is some; without it the file grows as far as the disk allows."""
        if self._descriptor is not None:
            return
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._descriptor, bytes(RESERVE_BYTES), 0)
        except OSError as error:
            logger.warning("%s: no space can be set aside: %s", self._path, error.strerror)

    def keep(self, outcomes: Iterable[Outcome]) -> None:
        """Write down the answers among these that are not in the file yet, as far as there is space."""
        new = [one for one in outcomes if one.answer is not None and not self.holds(one)]
        if not new or self._descriptor is None:
            return
        try:
            for one in new:
                line = json.dumps(_plain(one), separators=(",", ":")).encode() + b"\n"
                written = os.pwrite(self._descriptor, line, self._end)
                if written < len(line):
                    break
                self._end += written
                self._kept.add(_name(one))
            os.fsync(self._descriptor)
        except OSError as error:
            self._kept -= {_name(one) for one in new}
            logger.warning("%s: not all answers in hand fit: %s", self._path, error.strerror)

    def holds(self, one: Outcome) -> bool:
        """Whether an answer is safe in the file."""
        return _name(one) in self._kept

    @property
    def count(self) -> int:
        """How many answers are in the file."""
        return len(self._kept)

    @property
    def place(self) -> Path:
        """Where the file is, also after its folder was moved."""
        if self._descriptor is not None:
            with suppress(OSError):
                found = Path(f"/proc/self/fd/{self._descriptor}").readlink()
                return found if found.exists() else self._path
        return self._path

    def find_place(self, folder: Path, *, moves: bool) -> None:
        """Have a file that can be found: the one there is, moved to `folder` if it `moves`, or a new one there."""
        if self._has_name() and not moves:
            return
        target = folder / self._path.name
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if self._has_name():
                self.place.rename(target)
                self._path = target
                return
        except OSError as error:
            logger.warning("%s: answers in hand cannot be kept there: %s", folder, error.strerror)
            return
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._path, self._descriptor, self._end = target, None, 0
        self._kept.clear()
        self.reserve()

    def _has_name(self) -> bool:
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink > 0

    @property
    def is_used(self) -> bool:
        """Whether any answer is in the file."""
        return bool(self._kept)

    def forget(self, settled: Iterable[Outcome]) -> None:
        """Drop answers whose callers are about to be told; clear the file once it holds no other."""
        self._kept -= {_name(one) for one in settled}
        if self._kept or self._descriptor is None:
            return
        try:
            # Ends the text of the file and keeps the space.
            os.pwrite(self._descriptor, bytes(self._end), 0)
            os.fsync(self._descriptor)
        except OSError as error:
            # Harmless: answers that are already in the store are ignored when the file is read.
            logger.warning("%s: cannot be cleared: %s", self._path, error.strerror)
        else:
            self._end = 0

    def close(self) -> None:
        """Leave the file behind only if somebody has to take it in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if not self._kept:
            self._path.unlink(missing_ok=True)


def left_behind(folder: Path) -> dict[str, Path]:
    """The side files in a folder, by worker."""
    return {path.stem: path for path in sorted(folder.glob(f"*{_SUFFIX}"))}


def read(path: Path) -> list[Outcome]:
    """The answers in a side file; a last line that was cut short is left out."""
    lines = path.read_bytes().partition(b"\0")[0].split(b"\n")
    return [_outcome(json.loads(line)) for line in lines[:-1]]


def remove(path: Path) -> None:
    """Remove a side file that was taken in, by this process or another."""
    path.unlink(missing_ok=True)


def _name(one: Outcome) -> tuple[int, int]:
    return one.job_id, one.fence


def _plain(one: Outcome) -> dict[str, Any]:
    assert one.answer is not None, "only answers are kept"
    measured = one.answer.measurement
    return {
        "job_id": one.job_id,
        "run_id": one.run_id,
        "fence": one.fence,
        "ended_at": one.ended_at,
        "service": one.service,
        "cost_class": one.cost_class,
        "reserved": one.reserved,
        "passed": measured.passed,
        "failed": measured.failed,
        "tests": measured.tests,
        "scores": measured.scores,
        "note": measured.note,
        "provenance": one.provenance,
        "unanswered": dict(measured.unanswered),
        "raw": base64.b64encode(one.answer.raw).decode("ascii"),
    }


def _outcome(kept: dict[str, Any]) -> Outcome:
    scores = kept.pop("scores")
    measurement = Measurement(
        passed=kept.pop("passed"),
        failed=kept.pop("failed"),
        tests=kept.pop("tests"),
        scores=None if scores is None else tuple(scores),
        note=kept.pop("note"),
        # What an older version left behind does not have it.
        unanswered=kept.pop("unanswered", {}),
    )
    return Outcome(
        event=Event.SUCCEED,
        attempt_outcome=AttemptOutcome.SUCCEEDED,
        answer=Answer(raw=base64.b64decode(kept.pop("raw")), measurement=measurement),
        **kept,
    )
