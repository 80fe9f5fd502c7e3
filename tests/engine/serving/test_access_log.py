"""The log of a server: one JSON object a line, beside what `--verbose` asks for."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from engine.logs import StderrHandler, stderr_handler
from engine.secrets import resolve_secret
from engine.serving.access_log import JsonLines, log_to_stderr

KEY = "sk-Zq81xW0pLm4Rt7Vb"
LOGGERS = ("engine.serving", "a_service", "another")


@pytest.fixture
def own_process() -> Iterator[None]:
    """Leave the loggers of the tests' process as they were."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    root.handlers[:] = before
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.usefixtures("own_process")
def test_a_service_logs_news_of_its_own_and_warnings_of_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr("a_service", fields=("cause",))

    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(name).log(level, name, extra={"cause": "x", "prompt": "y"})

    written = lines(capsys)
    assert [(line["event"], line["level"]) for line in written] == [
        ("engine.serving", "info"),
        ("engine.serving", "warning"),
        ("a_service", "info"),
        ("a_service", "warning"),
        ("another", "warning"),
    ]
    assert all(set(line) == {"time", "level", "event", "cause"} for line in written)


@pytest.mark.usefixtures("own_process")
def test_a_verbose_service_logs_more_through_the_same_handler(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stderr_handler().shows_from = logging.DEBUG
    logging.getLogger("another").setLevel(logging.DEBUG)
    log_to_stderr("a_service")

    logging.getLogger("another").debug("in detail")

    handlers = [one for one in logging.getLogger().handlers if isinstance(one, StderrHandler)]
    assert len(handlers) == 1
    assert [line["event"] for line in lines(capsys)] == ["in detail"]


@pytest.mark.usefixtures("own_process")
def test_no_line_has_a_key_or_what_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_LOGS", KEY)
    log_to_stderr("a_service", fields=("cause",))

    key = resolve_secret("env:KEY_OF_LOGS")
    logging.getLogger("a_service").warning("\x9b2J%s", key, extra={"cause": [f"no {key}\u202e"]})

    [line] = lines(capsys)
    assert (line["event"], line["cause"]) == ("[redacted]", ["no [redacted]"])


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
