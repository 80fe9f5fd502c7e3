"""Handlers for the log of a process, which write whole records without keys and terminal sequences.

Commands install them, since a command owns its process. As a library the engine only logs, through
loggers that are named after its modules.
"""

import json
import logging
import os
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from engine.core.errors import UsageError
from engine.core.terminal import plain

logger = logging.getLogger(__name__)

_INDENT = "    "
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes that every record has; all others came with `extra`."""
_job: ContextVar[int | None] = ContextVar("job", default=None)
"""The job that the current task works on; a task that it starts works on the same one."""


@contextmanager
def about_job(job_id: int) -> Iterator[None]:
    """Name a job in the records of this task, and of all tasks that it starts meanwhile."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


class TextLines(logging.Formatter):
    """A record as text: its message, then any traceback in indented lines.

    With `is_full` the first line begins with the local time and its offset from UTC, the level, the
    logger and the job that the record is about, and ends with what came in `extra`.
    """

    def __init__(self, *, is_full: bool) -> None:
        super().__init__()
        self._is_full = is_full

    def format(self, record: logging.LogRecord) -> str:
        parts = [self._with_origin(record) if self._is_full else record.getMessage()]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        return _clean("\n".join(parts))

    def _with_origin(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        job_id = _job.get()
        where = [record.name] if job_id is None else [record.name, f"[job {job_id}]"]
        first, *others = record.getMessage().split("\n")
        extra = [
            f"{name}={_one_word(value)}"
            for name, value in vars(record).items()
            if name not in _STANDARD and value is not None
        ]
        start = f"{at.isoformat(timespec='milliseconds')} {record.levelname} {' '.join(where)}: "
        return "\n".join([" ".join([f"{start}{first}", *extra]), *others])


class StderrHandler(logging.Handler):
    """Writes to what is stderr at that moment: a live display stands in for it to keep its place.

    `shows_from` is the level from which records are written, `shows_info_of` the loggers of which INFO is
    written as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shows_from = logging.WARNING
        self.shows_info_of: Collection[str] = ()

    def emit(self, record: logging.LogRecord) -> None:
        if not self._shows(record):
            return
        stream = sys.stderr
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = _formatted(self, record).encode(encoding, "replace").decode(encoding)
        try:
            stream.write(f"{text}\n")
            stream.flush()
        except (OSError, ValueError):
            # The terminal is gone, or stderr is closed: the command goes on.
            return

    def _shows(self, record: logging.LogRecord) -> bool:
        if record.levelno >= self.shows_from:
            return True
        return record.levelno >= logging.INFO and any(
            f"{record.name}.".startswith(f"{name}.") for name in self.shows_info_of
        )


class PrivateFileHandler(logging.Handler):
    """Appends to a file of mode 0600, each record in one write: several processes may share the file.

    Raises UsageError where there can be no such file. A write that fails later is reported once.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._descriptor = _open_private(path)
        self._is_failing = False

    def emit(self, record: logging.LogRecord) -> None:
        rest = f"{_formatted(self, record)}\n".encode("utf-8", "replace")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                # Set before the report, which comes back here.
                self._is_failing = True
                logger.warning("%s: the log cannot be written: %s", self.path, error.strerror)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()


def stderr_handler() -> StderrHandler:
    """Return the process's handler for stderr; it is added to the root logger the first time."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, StderrHandler):
            return handler
    added = StderrHandler()
    added.setFormatter(TextLines(is_full=False))
    root.addHandler(added)
    return added


def log_to_file(path: Path, level: int) -> None:
    """Append records from a level on to a private file, in full; once for each path."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, PrivateFileHandler) and handler.path == path:
            return
    added = PrivateFileHandler(path)
    added.setLevel(level)
    added.setFormatter(TextLines(is_full=True))
    root.addHandler(added)


def clean(text: str) -> str:
    """Return a text on one line, without keys and what a terminal would obey."""
    from engine.secrets import without_secrets  # not needed by a command that logs nothing

    return plain(without_secrets(text))


def _clean(text: str) -> str:
    """Return a text of several lines, all but the first indented, so that none can pass for another record."""
    from engine.secrets import without_secrets

    # Whole, since a key may stretch over lines.
    first, *others = without_secrets(text).splitlines() or [""]
    return "\n".join([clean(first), *(f"{_INDENT}{clean(line)}" for line in others)])


def _formatted(handler: logging.Handler, record: logging.LogRecord) -> str:
    """Return the record as text. A call whose arguments do not fit is a bug, but no reason to show them."""
    try:
        return handler.format(record)
    except Exception as error:
        where = f"{record.pathname}:{record.lineno}"
        return f"{record.name}: a record cannot be formatted ({type(error).__name__} at {where})"


def _one_word(value: object) -> str:
    text = str(value)
    return text if text and not any(character.isspace() for character in text) else json.dumps(text)


def _open_private(path: Path) -> int:
    """Open a file for appending; a new one has mode 0600, and one of this user's becomes as private."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: is not a regular file; choose another one for the log")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise UsageError(f"{path}: the log cannot be written: {error.strerror}") from None
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            os.fchmod(descriptor, mode & 0o700)
    except OSError:
        os.close(descriptor)
        raise UsageError(
            f"{path}: other users may read it, and it belongs to one of them; choose another file for the log"
        ) from None
    return descriptor
