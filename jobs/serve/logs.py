"""The service's log: one JSON object a line on stderr."""

import json
import logging
from datetime import UTC, datetime

_OURS = ("method", "path", "status", "duration_ms", "key", "model", "cause", "error", "closed")


class JsonLines(logging.Formatter):
    """Time (UTC), level, what happened, and the fields that were given with it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: vars(record)[name] for name in _OURS if name in vars(record)}
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr() -> None:
    """Have the process write its log; for the command, which owns the process."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("jobs.serve").setLevel(logging.INFO)
