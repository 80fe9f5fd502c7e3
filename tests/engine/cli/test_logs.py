"""`--verbose` and NIGHTSWEEP_LOG: how much commands log, and where."""

import json
import logging
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from engine.cli.app import app
from engine.cli.logs import LogTarget, read_log_target
from engine.core.errors import UsageError
from tests.engine.cli.conftest import Nightsweep

KEY = "sk-Zq81xW0pLm4Rt7Vb"


def commands_below(command: Any, context: typer.Context) -> Iterator[Any]:
    yield command
    names = command.list_commands(context) if hasattr(command, "list_commands") else ()
    for name in names:
        yield from commands_below(command.get_command(context, name), context)


def test_every_command_can_be_verbose() -> None:
    group = get_command(app)
    context = typer.Context(group)
    added = [group.get_command(context, name) for name in ("serve", "model", "groups")]  # type: ignore[attr-defined]

    for command in [*commands_below(group, context), *added]:
        [option] = [one for one in command.params if one.name == "verbose"]
        assert option.opts == ["--verbose", "-v"], command.name


@pytest.mark.parametrize(
    ("words", "variable", "levels"),
    [
        ((), "", {"WARNING"}),
        (("-v",), "", {"INFO", "WARNING"}),
        (("--verbose",), "", {"INFO", "WARNING"}),
        (("-vv",), "", {"DEBUG", "INFO", "WARNING"}),
        (("-v", "-v"), "", {"DEBUG", "INFO", "WARNING"}),
        ((), "debug", {"DEBUG", "INFO", "WARNING"}),
        ((), " Info ", {"INFO", "WARNING"}),
        ((), "error", set()),
        (("-v",), "error", {"INFO", "WARNING"}),
        (("-v",), "debug", {"INFO", "WARNING"}),
    ],
)
def test_the_option_decides_or_else_the_variable(
    nightsweep: Nightsweep, words: tuple[str, ...], variable: str, levels: set[str]
) -> None:
    ended = nightsweep("greetings", "log", *words, NIGHTSWEEP_LOG=variable)

    logged = {
        "WARNING": "a warning of the command",
        "INFO": "news of the command",
        "DEBUG": "details of the command",
    }
    assert ended.returncode == 0
    assert {level for level, text in logged.items() if text in ended.stderr} == levels


def test_the_option_may_stand_before_the_command_and_counts_there_too(
    nightsweep: Nightsweep,
) -> None:
    before = nightsweep("-v", "greetings", "log")
    both = nightsweep("-v", "greetings", "-v", "log")

    assert "news of the command" in before.stderr
    assert "details of the command" not in before.stderr
    assert "details of the command" in both.stderr


def test_without_the_option_a_warning_is_its_message(nightsweep: Nightsweep) -> None:
    ended = nightsweep("greetings", "log")

    assert ended.stderr == (
        "no pool for https://models.example/?key=nothing\na warning of the command\n"
    )


def test_other_libraries_are_heard_from_warnings_on_and_quote_no_key(
    nightsweep: Nightsweep,
) -> None:
    ended = nightsweep("greetings", "log", "-vv", "--key", "env:THEIR_KEY", THEIR_KEY=KEY)

    assert "GET https" not in ended.stderr
    assert "WARNING httpx: no pool for https://models.example/?key=[redacted]" in ended.stderr
    assert "INFO tests.engine.cli.scripted: news of the command, with [redacted]" in ended.stderr
    assert KEY not in ended.stderr


def test_a_file_gets_the_log_in_full_and_stderr_what_it_gets_without_one(
    nightsweep: Nightsweep, tmp_path: Path
) -> None:
    alone = nightsweep("greetings", "log")

    first = nightsweep("greetings", "log", NIGHTSWEEP_LOG="debug:night.log")
    nightsweep("greetings", "log", NIGHTSWEEP_LOG="info:night.log")

    log = tmp_path / "night.log"
    assert (first.stdout, first.stderr) == (alone.stdout, alone.stderr)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert log.read_text().count("news of the command") == 2
    assert log.read_text().count("details of the command") == 1


def test_a_run_logs_what_it_does_and_its_data_stays_as_it_is(
    nightsweep: Nightsweep, sweep: Callable[..., str]
) -> None:
    path = sweep("good", "broken", more="retry: {attempts: 1, outage_h: 0}\n")

    ended = nightsweep("run", path, "--json", "-vv")

    assert ended.returncode == 1
    assert json.loads(ended.stdout)["cells"] == 4
    lines = ended.stderr.splitlines()
    assert any(" INFO engine.session.executor: night: worker " in line for line in lines)
    assert any(line.endswith(": attempt 1 of 1: Unknown model; failed run=night") for line in lines)
    assert any(" DEBUG engine.store.writer" in line for line in lines)
    assert any("engine.scheduler.settling [job 1]: attempt 1 " in line for line in lines)


def test_a_command_that_fails_logs_where(nightsweep: Nightsweep) -> None:
    ended = nightsweep("status", "-vv")

    assert ended.returncode == 2
    assert "DEBUG engine.cli.main: the command failed\n    Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("nightsweep: there is no store at ")


@pytest.mark.parametrize("text", ["loud", "debug:", ":night.log", "2", "debug,night.log", ":"])
def test_a_bad_value_is_refused_and_says_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_log_target(text)

    assert str(refused.value) == (
        f"NIGHTSWEEP_LOG: {text!r} is not LEVEL or LEVEL:FILE; LEVEL is debug, info, warning or"
        " error, such as debug or debug:night.log"
    )


def test_a_file_in_the_home_folder_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^NIGHTSWEEP_LOG: '~nobody-here/night.log': there is no"):
        read_log_target("debug:~nobody-here/night.log")


def test_a_bad_value_ends_a_command_but_not_its_help(nightsweep: Nightsweep) -> None:
    for words in (("runs",), ("greetings", "greet")):
        ended = nightsweep(*words, NIGHTSWEEP_LOG="loud")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("nightsweep: NIGHTSWEEP_LOG: 'loud' is not LEVEL or ")

    assert nightsweep("runs", "--help", NIGHTSWEEP_LOG="loud").returncode == 0
    assert nightsweep("--version", NIGHTSWEEP_LOG="loud").returncode == 0


def test_a_file_may_be_in_the_home_folder_and_have_colons_in_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/night")

    assert read_log_target("info:~/a:b.log") == LogTarget(
        level=logging.INFO, file=Path("/home/night/a:b.log")
    )
    assert read_log_target("") is None
