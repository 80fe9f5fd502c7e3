import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from engine.cli.app import app
from tests.engine.cli.conftest import Nightsweep

STARTING = ("init", "schema")
COMMANDS = (
    "plan",
    "check",
    "run",
    "resume",
    "status",
    "events",
    "jobs",
    "show",
    "results",
    "runs",
    "retry",
    "pause",
    "cancel",
    "rename",
    "delete",
    "prune",
    "backup",
)

LOOK = """
import sys
began_with = len(sys.modules)
import json
try:
    from engine.cli import main
    main(["--help"])
finally:
    heavy = ("anyio", "sqlalchemy", "httpx", "pydantic", "yaml", "alembic", "rich.console", "asyncio", "pyarrow", "pandas", "polars", "engine.serving")
    found = {
        "count": len(sys.modules) - began_with,
        "heavy": [name for name in heavy if name in sys.modules],
        "added": "tests.engine.cli.scripted" in sys.modules,
    }
    # What plans and checks take, which draw nothing and open no store.
    import engine.cli.progress, jobs.circuit_breaker_labs, jobs.enkrypt, jobs.evaluator.callables
    from engine.session import add_times, check, resolve
    unneeded = ("aiohttp", "httpx", "rich.console", "sqlalchemy")
    found["unneeded"] = [name for name in unneeded if name in sys.modules]
    print(json.dumps(found), file=sys.stderr)
"""


def test_help_imports_little_and_plans_nothing_to_send_with(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    shown = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LOOK],
        cwd=tmp_path,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )

    found = json.loads(shown.stderr)
    assert found["heavy"] == []
    assert not found["added"]
    assert found["unneeded"] == []
    # What takes the time of a start: some 0.2 s of CPU.
    assert found["count"] < 290, found["count"]


def test_every_command_is_listed_and_explained_within_80_columns(nightsweep: Nightsweep) -> None:
    shown = nightsweep("--help").stdout

    lines = shown.splitlines()
    for name in (*STARTING, *COMMANDS):
        [line] = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(".")
        assert "..." not in line
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "command", [(), ("run",), ("greetings",), ("greetings", "greet"), ("serve", "keys", "create")]
)
def test_help_has_a_short_option_everywhere(
    nightsweep: Nightsweep, command: tuple[str, ...]
) -> None:
    asked, short = nightsweep(*command, "--help"), nightsweep(*command, "-h")

    assert (short.returncode, short.stdout) == (0, asked.stdout)
    assert "-h, --help" in short.stdout


def test_added_commands_are_listed_with_their_own_help(nightsweep: Nightsweep) -> None:
    shown = nightsweep("--help").stdout

    assert "  greetings  Greet and crash.\n" in shown
    assert "  gone       From the package scripted; see nightsweep gone --help." in shown


@pytest.mark.parametrize("command", ["calibrate", "groups", "model", "serve"])
def test_the_listed_help_of_an_added_command_is_that_of_the_command(
    nightsweep: Nightsweep, command: str
) -> None:
    [line] = [
        line
        for line in nightsweep("--help").stdout.splitlines()
        if line.startswith(f"  {command} ")
    ]

    shown = " ".join(nightsweep(command, "--help").stdout.split())

    assert line.removeprefix(f"  {command}").strip().removesuffix(".") in shown


def test_an_added_command_is_called(nightsweep: Nightsweep) -> None:
    ended = nightsweep("greetings", "greet")

    assert (ended.returncode, ended.stdout) == (0, "hello from an added command\n")


@pytest.mark.parametrize("args", [("greetings", "--help"), ("greetings", "--wrong")])
def test_an_added_command_looks_like_the_others(
    nightsweep: Nightsweep, args: tuple[str, ...]
) -> None:
    ended = nightsweep(*args)

    assert "Usage: nightsweep greetings " in ended.stdout + ended.stderr


def test_an_added_command_that_is_broken_is_a_named_error(nightsweep: Nightsweep) -> None:
    ended = nightsweep("gone")

    assert ended.returncode == 2
    assert "the command gone (tests.engine.cli.scripted:nothing) cannot be loaded" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bug_is_shown_with_its_traceback_and_an_exit_code_of_its_own(
    nightsweep: Nightsweep,
) -> None:
    ended = nightsweep("greetings", "crash")

    assert ended.returncode == 70
    assert "RuntimeError: unforeseen" in ended.stderr


def test_named_errors_are_printed_line_by_line_also_out_of_a_task_group(
    nightsweep: Nightsweep,
) -> None:
    ended = nightsweep("greetings", "refuse")

    assert ended.returncode == 2
    assert ended.stderr == "nightsweep: first\nnightsweep: line two \nnightsweep: second\n"


def test_the_version_is_that_of_the_distribution(nightsweep: Nightsweep) -> None:
    assert nightsweep("--version").stdout == f"nightsweep {version('nightsweep')}\n"


SHORT = {"--verbose": "-v", "--output": "-o"}
"""The options that have a letter, in every command that has them."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_and_every_option_an_environment_variable(name: str) -> None:
    group = get_command(app)
    context = typer.Context(group, info_name="nightsweep")
    command = group.get_command(context, name)  # type: ignore[attr-defined]
    options = {option.opts[0]: option for option in command.params if "--" in option.opts[0]}

    assert "--json" in options
    with typer.Context(
        command, info_name=name, parent=context, auto_envvar_prefix=f"NIGHTSWEEP_{name.upper()}"
    ) as inner:
        for option in options.values():
            short = [text for text in option.opts if not text.startswith("--")]
            assert short == [letter for name, letter in SHORT.items() if name in option.opts]
            assert "NIGHTSWEEP_" in option.get_help_record(inner)[1]


def test_a_wrong_option_or_command_is_wrong_usage(nightsweep: Nightsweep) -> None:
    wrong = nightsweep("--nonsense")
    assert wrong.returncode == 2
    assert "Try 'nightsweep --help'" in wrong.stderr
    assert nightsweep("nonsense").returncode == 2
    assert nightsweep("run").returncode == 2


@pytest.mark.parametrize(
    "args",
    [
        ("--nonsense",),
        ("nonsense",),
        ("run",),
        ("run", "missing.yaml"),
        ("run", "mistaken.yaml"),
        ("status",),
        ("status", "--store", ""),
        ("status", "--progress-every", "soon"),
        ("greetings", "--nonsense"),
        ("greetings", "refuse"),
        ("gone",),
        ("serve", "--config", "missing.yaml"),
        ("serve", "keys", "revoke", "nobody", "--config", "missing.yaml"),
        ("groups", "--cases", "missing"),
        ("calibrate", "rules", "--against", "missing.csv"),
    ],
)
def test_every_error_begins_with_the_name_of_the_command(
    nightsweep: Nightsweep, tmp_path: Path, args: tuple[str, ...]
) -> None:
    (tmp_path / "mistaken.yaml").write_text("name: [1]\n")

    ended = nightsweep(*args)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("nightsweep: ")
    assert "Error:" not in ended.stderr
