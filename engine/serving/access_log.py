"""The log of a server: one JSON object a line on stderr."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

_FIELDS = ("method", "path", "status", "duration_ms", "key", "error", "closed")


class JsonLines(logging.Formatter):
    """Time (UTC), level, event, and those of its `fields` that a record has."""

    def __init__(self, fields: Sequence[str] = _FIELDS) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: vars(record)[name] for name in self._fields if name in vars(record)}
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(package: str, fields: Sequence[str] = ()) -> None:
    """Write the process's log to stderr; for a command, which owns its process.

    Warnings come from every package, INFO only from hosting and from `package`, the service's own, whose
    records may have `fields` beyond those of a request.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines((*_FIELDS, *fields)))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in (__package__, package):
        logging.getLogger(name).setLevel(logging.INFO)
