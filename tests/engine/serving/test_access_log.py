"""The log of a server: one JSON object a line."""

import json
import logging
import sys

from engine.serving.access_log import JsonLines


def test_a_crash_is_logged_with_its_type_and_place_and_without_its_text() -> None:
    try:
        raise RuntimeError("sk-secret")
    except RuntimeError:
        record = logging.LogRecord(
            "asyncio", logging.ERROR, __file__, 1, "a task crashed", None, sys.exc_info()
        )

    line = JsonLines().format(record)

    assert json.loads(line)["event"] == "a task crashed"
    [place] = json.loads(line)["error"]
    assert place.startswith(f"RuntimeError at {__file__}:")
    assert "sk-secret" not in line
