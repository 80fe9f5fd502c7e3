"""The documentation is true: its examples are read and run, its lists are complete."""

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer
import yaml
from typer.main import get_command

import engine
from engine import Row, Sweep
from engine.cli.app import app
from engine.core.states import TRANSITIONS
from engine.settings import Settings
from engine.sweep.schema import LimitsPart, RetryPart, SweepFile
from jobs.http import Unanswered
from tests.docs.pages import PAGES, blocks
from tests.launcher.processes import Launcher
from tests.paths import ROOT

QUICKSTART = "docs/examples/quickstart.yaml"
MODEL = '["smollm2-135m"]'
SMALL_GROUP = "mania"
FEW = 2
"""Tokens of an answer."""
RUNS = re.compile(r"\.run\((store=)?\"")
"""A sweep that is run, in a store that is named."""
IN_ORDER = "docs/tutorial/functions.md"
"""The page whose examples are run one after the other, by a test of its own."""
COMMANDS = (ROOT / "docs/reference/commands.md").read_text()


def _sweeps() -> Iterator[tuple[str, str]]:
    # Other blocks show a part of a sweep, or a group of test cases; one sweep names a service of its page.
    return (
        (where, block)
        for where, block in blocks("yaml")
        if "matrix" in yaml.safe_load(block) and "write-a-job-kind" not in where
    )


def _programs() -> Iterator[tuple[str, str, dict[str, str]]]:
    """The Python examples that can be run, each with the modules that its page has for it."""
    modules: dict[str, str] = {}
    for where, block in blocks("python"):
        if where.startswith(IN_ORDER):
            continue
        if named := re.match(r"# file: (\S+)\n", block):
            modules[named[1]] = block
        elif "anyio.run" in block or "import chat" in block:
            yield where, block, dict(modules)


@pytest.mark.parametrize(("where", "block"), list(_sweeps()))
def test_every_sweep_in_the_docs_is_valid(where: str, block: str) -> None:
    sweep = Sweep.parse(yaml.safe_load(block), folder=ROOT, source=where)

    assert sweep.plan().cells > 0


def _together() -> Iterator[list[tuple[str, str, dict[str, str]]]]:
    """The programs by the folder that they run in: those that ask the built-in model share their answers."""
    programs = list(_programs())
    yield [one for one in programs if asks_the_model(one[1])]
    yield from ([one] for one in programs if not asks_the_model(one[1]))


def asks_the_model(block: str) -> bool:
    return QUICKSTART in block or MODEL in block


@pytest.mark.parametrize(
    "programs", list(_together()), ids=lambda programs: ", ".join(one[0] for one in programs)
)
def test_every_python_example_in_the_docs_runs(
    programs: list[tuple[str, str, dict[str, str]]],
    launcher: Launcher,
    tmp_path: Path,
    built_in_model: Path,
) -> None:
    # Of the quickstart one prompt and one group, and answers of few words: the whole of it takes the model minutes.
    quickstart = yaml.safe_load((ROOT / QUICKSTART).read_text())
    quickstart["service"]["max_tokens"] = FEW
    del quickstart["matrix"]["prompts"][1:]
    quickstart["matrix"]["groups"] = [SMALL_GROUP]
    (tmp_path / QUICKSTART).parent.mkdir(parents=True)
    (tmp_path / QUICKSTART).write_text(yaml.safe_dump(quickstart))
    for where, block, modules in programs:
        for name, text in modules.items():
            (tmp_path / name).write_text(text)
        done = launcher.run(
            ["-c", hurried(block)], folder=tmp_path, environment=os.environ, is_python=True
        )

        assert done.returncode == 0, f"{where}: {done.stderr}"
        assert "cells answered" in done.stdout + done.stderr, where


def hurried(block: str) -> str:
    """A program whose own sweep asks the built-in model for few and short answers, if it has one."""
    if MODEL not in block:
        return block
    for written, shorter in (
        ('{"kind": "local"}', f'{{"kind": "local", "max_tokens": {FEW}}}'),
        ('["benign_controls"]', f'["{SMALL_GROUP}"]'),
    ):
        assert written in block
        block = block.replace(written, shorter)
    return block


def test_every_example_file_is_valid() -> None:
    for path in (ROOT / "docs/examples").glob("*.yaml"):
        assert Sweep.load(path).plan().cells > 0


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)}: {link}"


def test_every_page_is_linked_from_the_readme_or_the_page_on_contributing() -> None:
    index = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()

    for page in (ROOT / "docs").rglob("*.md"):
        assert f"]({page.relative_to(ROOT)})" in index, page.relative_to(ROOT)


def test_every_command_option_and_variable_is_documented() -> None:
    command = get_command(app)
    context = typer.Context(command)

    for name in command.list_commands(context):  # type: ignore[attr-defined]  # it is a group
        assert f"nightsweep {name}" in COMMANDS
        found = command.get_command(context, name)  # type: ignore[attr-defined]  # it is a group
        for parameter in found.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("--") and option != "--help":
                    assert option in COMMANDS, f"{name} {option}"
            if parameter.param_type_name == "option" and parameter.allow_from_autoenv:
                variable = parameter.envvar or f"NIGHTSWEEP_{name}_{parameter.name}".upper()
                assert f"`{variable}`" in COMMANDS, f"{name} {variable}"


def test_every_setting_is_documented() -> None:
    for field in fields(Settings):
        assert f"NIGHTSWEEP_{field.name.upper()}" in COMMANDS


def test_every_key_of_the_sweep_file_is_documented() -> None:
    page = (ROOT / "docs/reference/sweep-file.md").read_text()

    for part in (SweepFile, LimitsPart, RetryPart):
        for key in part.model_fields:
            assert f"`{key}`" in page, key


def test_every_reason_without_an_answer_is_documented() -> None:
    page = (ROOT / "docs/reference/results.md").read_text()

    for reason in Unanswered:
        assert f"| `{reason.value}` |" in page, reason


def test_every_field_of_a_row_is_documented() -> None:
    page = (ROOT / "docs/reference/results.md").read_text()

    for field in fields(Row):
        assert field.name == "labels" or f"`{field.name}`" in page, field.name


def test_every_public_name_is_documented() -> None:
    page = (ROOT / "docs/reference/python-api.md").read_text()

    for name in engine.__all__:
        assert name in page, name
        assert hasattr(engine, name)


def test_the_architecture_page_names_every_module() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()

    for package in ("engine", "jobs"):
        for path in (ROOT / package).iterdir():
            if path.name.startswith(("__", "py.typed")):
                continue
            name = path.name + "/" * path.is_dir()
            assert name in page, f"{package}/{name}"


def test_the_state_diagram_is_the_table_of_transitions() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()

    drawn = set(re.findall(r"^    (\w+) +--(\w+)--> +(\w+)$", page, re.MULTILINE))

    assert drawn == {
        (state.value, event.value, after.value)
        for state, events in TRANSITIONS.items()
        for event, after in events.items()
    }


def test_the_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    [command] = re.findall(r"^    (python3 -m venv .*pytest)$", readme, re.MULTILINE)

    assert command in (ROOT / ".ci/run").read_text().splitlines()
