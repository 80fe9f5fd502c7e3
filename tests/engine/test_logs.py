"""The handlers of a process's log: whole records without keys, on stderr and in a private file."""

import logging
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from engine.core.errors import UsageError
from engine.logs import PrivateFileHandler, StderrHandler, TextLines, about_job
from engine.secrets import resolve_secret
from tests.paths import ROOT

KEY = "sk-Zq81xW0pLm4Rt7Vb"

logger = logging.getLogger("tests.of.logs")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KEY_OF_LOGS", KEY)
    return resolve_secret("env:KEY_OF_LOGS")


@pytest.fixture
def logged_to() -> Iterator[Callable[[logging.Handler], None]]:
    """Let the test's logger write to a handler, in full."""
    added: list[logging.Handler] = []

    def add(handler: logging.Handler) -> None:
        handler.setFormatter(TextLines(is_full=True))
        logger.addHandler(handler)
        added.append(handler)

    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield add
    for handler in added:
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def fail_with(message: str) -> None:
    raise RuntimeError(message)


def test_no_part_of_a_record_has_a_key_or_what_a_terminal_obeys(
    key: str, tmp_path: Path, logged_to: Callable[[logging.Handler], None]
) -> None:
    logged_to(PrivateFileHandler(tmp_path / "log"))

    try:
        fail_with(f"no {key} in a traceback")
    except RuntimeError:
        logger.exception("no %s in arguments", key, extra={"lane": f"no {key} in extra"})
    logger.info("none in a URL: https://models.example/v1?key=%s&x=1", key)
    logger.info("none that is split: %s", f"{key[:6]}\x1b[31m{key[6:]}")
    logger.info("nor \x1b[2J \x1b]0;title\x07 or \u202e")
    logger.debug("in a stack", stack_info=True, extra={"what": {"nested": [key]}})

    text = (tmp_path / "log").read_text()
    assert key not in text
    assert text.count("[redacted]") == 6
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_record_is_one_line_and_what_follows_it_is_indented(
    tmp_path: Path, logged_to: Callable[[logging.Handler], None]
) -> None:
    logged_to(PrivateFileHandler(tmp_path / "log"))

    try:
        fail_with("first\nsecond")
    except RuntimeError:
        logger.exception("a message\n2026-01-01 INFO engine: that plays another record")
    logger.info("next", extra={"run": "night", "lane": "a b", "status": None})

    first, *others, last = (tmp_path / "log").read_text().splitlines()
    assert first.endswith(" ERROR tests.of.logs: a message")
    assert "    2026-01-01 INFO engine: that plays another record" in others
    assert "    Traceback (most recent call last):" in others
    assert all(line.startswith("    ") for line in others)
    assert last.endswith(' INFO tests.of.logs: next run=night lane="a b"')


async def test_a_record_names_the_job_that_its_task_works_on(
    tmp_path: Path, logged_to: Callable[[logging.Handler], None]
) -> None:
    logged_to(PrivateFileHandler(tmp_path / "log"))

    async def ask() -> None:
        logger.info("from a question of the job")

    async def work() -> None:
        with about_job(17):
            logger.info("from the job")
            async with anyio.create_task_group() as questions:
                questions.start_soon(ask, name="question 1")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, name="job 17")
    logger.info("from the test")

    job, question, other = (tmp_path / "log").read_text().splitlines()
    assert job.endswith(" INFO tests.of.logs [job 17]: from the job")
    assert question.endswith(" INFO tests.of.logs [job 17]: from a question of the job")
    assert other.endswith(" INFO tests.of.logs: from the test")


def test_times_are_local_with_their_offset(
    live_in: Callable[[str], None],
    tmp_path: Path,
    logged_to: Callable[[logging.Handler], None],
) -> None:
    live_in("Asia/Kolkata")
    logged_to(PrivateFileHandler(tmp_path / "log"))

    record = logger.makeRecord(logger.name, logging.INFO, __file__, 1, "night", (), None)
    record.created = 1_000_000_000.25
    logger.handle(record)

    assert (tmp_path / "log").read_text().startswith("2001-09-09T07:16:40.250+05:30 INFO ")


def test_a_call_whose_arguments_do_not_fit_is_reported_without_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = (logger.name, logging.WARNING, __file__, 1, "%d jobs", ("a prompt",), None)

    StderrHandler().handle(logger.makeRecord(*call))

    line = capsys.readouterr().err
    assert "a prompt" not in line
    assert line.startswith("tests.of.logs: a record cannot be formatted (TypeError at ")
    assert "test_logs.py:" in line


def test_the_file_is_private_and_appended_to(
    tmp_path: Path, logged_to: Callable[[logging.Handler], None]
) -> None:
    new, old = tmp_path / "new.log", tmp_path / "old.log"
    old.write_text("before\n")
    old.chmod(0o644)

    for path in (new, old):
        logged_to(PrivateFileHandler(path))
    logger.info("now")

    assert [stat.S_IMODE(path.stat().st_mode) for path in (new, old)] == [0o600, 0o600]
    first, last = old.read_text().splitlines()
    assert first == "before"
    assert last.endswith(" now")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("missing/night.log", "missing/night.log: the log cannot be written: No such file"),
        ("folder", "folder: is not a regular file; choose another one for the log"),
        ("pipe", "pipe: is not a regular file; choose another one for the log"),
    ],
)
def test_a_place_where_no_log_can_be_is_refused(tmp_path: Path, name: str, fault: str) -> None:
    (tmp_path / "folder").mkdir()
    subprocess.run(["mkfifo", str(tmp_path / "pipe")], check=True)  # noqa: S603, S607

    with pytest.raises(UsageError, match=fault):
        PrivateFileHandler(tmp_path / name)


def test_a_full_disk_is_reported_once_and_stops_nothing(
    tmp_path: Path, logged_to: Callable[[logging.Handler], None], caplog: pytest.LogCaptureFixture
) -> None:
    handler = PrivateFileHandler(tmp_path / "log")
    logged_to(handler)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, handler._descriptor)
    os.close(full)

    logger.info("one")
    logger.info("two")

    [report] = [one for one in caplog.records if one.name == "engine.logs"]
    assert (
        report.getMessage()
        == f"{tmp_path / 'log'}: the log cannot be written: No space left on device"
    )


def test_stderr_that_is_gone_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, logged_to: Callable[[logging.Handler], None]
) -> None:
    logged_to(StderrHandler())
    closed = open("/dev/null", "w")  # noqa: PTH123, SIM115
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)

    logger.error("said to nobody")


def test_as_a_library_the_engine_logs_under_its_modules_names_and_configures_nothing() -> None:
    own_process = ("engine/logs.py", "engine/cli/logs.py", "engine/serving/access_log.py")
    configures = re.compile(
        r"addHandler|setLevel|basicConfig|dictConfig|lastResort|getLogger\((?!__name__\))"
    )

    for package in ("engine", "jobs"):
        for path in (ROOT / package).rglob("*.py"):
            if str(path.relative_to(ROOT)) not in own_process:
                assert not configures.search(path.read_text()), path
