"""The log of a server: one JSON object a line on stderr."""

import json
import logging
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from engine.logs import clean, stderr_handler

_FIELDS = ("method", "path", "status", "duration_ms", "key", "error", "closed")


class JsonLines(logging.Formatter):
    """Formats a record as JSON: time (UTC), level, event, and those of `fields` that the record has; without keys.

    Of an exception only the type and the place are written: its text may contain what a client sent.
    """

    def __init__(self, fields: Sequence[str] = _FIELDS) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = list(places_of(record.exc_info[1]))
        line |= {name: vars(record)[name] for name in self._fields if name in vars(record)}
        return clean(json.dumps(line, ensure_ascii=False))


def places_of(error: BaseException) -> Iterator[str]:
    """The type of an error and the lines of code that raised it, innermost first; one text for each of a group."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from places_of(part)
        return
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    yield f"{type(error).__name__} at {where}"


def log_to_stderr(package: str, fields: Sequence[str] = ()) -> None:
    """Send the process's log to stderr as JSON lines. For commands only: it configures the root logger.

    Warnings are logged from every package, INFO only from `engine.serving` and from `package`, the
    service's own; `--verbose` and NIGHTSWEEP_LOG add to that. `fields` are further attributes of records
    (`extra=`) to write.
    """
    handler = stderr_handler()
    handler.setFormatter(JsonLines((*_FIELDS, *fields)))
    handler.shows_info_of = (__package__, package)
    for name in handler.shows_info_of:
        logger = logging.getLogger(name)
        logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
