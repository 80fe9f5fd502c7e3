"""A directory of logs: samples are collected in one hidden file, then each log is written whole."""

import json
import os
import re
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engine.core.errors import UsageError
from engine.part_files import part_of
from engine.report.files import new_file
from engine.report.inspect_log.cleaning import time_text
from engine.report.inspect_log.log import LogCounts, LogIdentity, RunIdentity, head_of
from engine.report.inspect_log.samples import Sample, to_document

_RUN_DIGITS = 8
_CHUNK = 1024 * 1024
_NO_WORD = re.compile(r"[^A-Za-z0-9.]+")
_LONGEST_WORD = 60
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class LogFile:
    """One log that is being collected: its counts, and where its samples are in the hidden file."""

    def __init__(self, identity: LogIdentity, spool: BinaryIO) -> None:
        self.identity = identity
        self.counts = LogCounts()
        self._spool = spool
        # Begin and end of each stretch of samples, eight bytes each.
        self._stretches = array("Q")

    def add(self, sample: Sample) -> None:
        """Add a sample to the log; it is written at once, and not kept."""
        document = to_document(sample, self.identity.id, self.identity.model)
        begin = self._spool.tell()
        # Each sample has its comma before it, which the first one loses.
        self._spool.write(b"," + _encode(document).encode())
        if self._stretches and self._stretches[-1] == begin:
            self._stretches[-1] = self._spool.tell()
        else:
            self._stretches.extend((begin, self._spool.tell()))
        self.counts.logged += 1

    def write(self, run: RunIdentity, cases: Mapping[str, int], stream: BinaryIO) -> None:
        """Write the whole log: its head, then its samples."""
        head = _encode(head_of(run, self.identity, self.counts, cases))
        stream.write(head[:-1].encode() + b',"samples":[')
        skipped = 1
        for begin, end in zip(self._stretches[::2], self._stretches[1::2], strict=True):
            _copy(self._spool.fileno(), begin + skipped, end, stream)
            skipped = 0
        stream.write(b"]}")


class LogDirectory:
    """The logs of one export; `open_directory` makes it."""

    def __init__(self, path: Path, run: RunIdentity, spool: BinaryIO) -> None:
        self.path = path
        self._cases: dict[str, int] = {}
        self._run = run
        self._spool = spool
        self._logs: dict[str, LogFile] = {}

    def find(self, log_id: str) -> LogFile | None:
        """The log with an id; None before `begin`."""
        return self._logs.get(log_id)

    def begin(self, identity: LogIdentity) -> LogFile:
        """Begin a log that is not there yet."""
        log = self._logs[identity.id] = LogFile(identity, self._spool)
        return log

    def note_cases(self, group: str, cases: int) -> None:
        """Note how many cases an answer of a group has: cells of the group without one lack as many."""
        self._cases[group] = max(cases, self._cases.get(group, 0))

    def finish(self, *, replaces_all: bool) -> list[Path]:
        """Write all logs and return their paths, in the order in which they began.

        With `replaces_all`, files of earlier exports of the run that are not among them are removed. Files of
        others are left alone. Raises UsageError if a log cannot be written; those before it are there.
        """
        self._spool.flush()
        written = []
        for log in self._logs.values():
            target = self.path / _file_name(self._run, log.identity)
            with new_file(target) as stream:
                log.write(self._run, self._cases, stream)
            written.append(target)
        if replaces_all:
            for old in self.path.glob(f"*_{self._run.id[:_RUN_DIGITS]}*.json"):
                if old not in written and _is_of_run(old.name, self._run):
                    with suppress(OSError):
                        old.unlink()
        return written


@contextmanager
def open_directory(path: Path, run: RunIdentity) -> Iterator[LogDirectory]:
    """Collect the logs of a run in a directory, which is created if there is none, with mode 0700.

    Nothing but a hidden file is in it before `finish`. Raises UsageError if it cannot be written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with part_of(path / "samples") as (descriptor, _), os.fdopen(descriptor, "w+b") as spool:
            yield LogDirectory(path, run, spool)
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise UsageError(f"cannot write logs to {path}: it is not a directory") from None
        raise UsageError(
            f"cannot write logs to {path}: {error.strerror or error}; choose another directory"
        ) from error


def _copy(descriptor: int, begin: int, end: int, stream: BinaryIO) -> None:
    while begin < end:
        part = os.pread(descriptor, min(_CHUNK, end - begin), begin)
        assert part, "the hidden file holds what was written"
        stream.write(part)
        begin += len(part)


def _file_name(run: RunIdentity, log: LogIdentity) -> str:
    """The name of a log's file, in the parts that Inspect reads: time, task, model, id."""
    time = _NO_WORD.sub("-", time_text(round(run.created_at)))
    return f"{time}_{_word(log.task)}_{_word(log.model)}_{log.id}.json"


def _word(text: str) -> str:
    return _NO_WORD.sub("-", text)[:_LONGEST_WORD].strip("-") or "none"


def _is_of_run(name: str, run: RunIdentity) -> bool:
    """Whether a file has the name of a log of the run, also of the run under an earlier name."""
    time = re.escape(_NO_WORD.sub("-", time_text(round(run.created_at))))
    return (
        re.fullmatch(f"{time}_[^_]+_[^_]+_{run.id[:_RUN_DIGITS]}[0-9a-f]+[.]json", name) is not None
    )


def log_id(run: RunIdentity, digits: str) -> str:
    """The id of a log: digits of the run, then those of what its samples share."""
    return run.id[:_RUN_DIGITS] + digits[: len(run.id) - _RUN_DIGITS]
