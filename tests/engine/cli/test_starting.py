"""`init` writes a sweep to begin with; `schema` writes what editors read."""

import json
import os
import pty
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from engine import Registry, Sweep
from engine.documents.document import YAML
from engine.sweep.templates import Template, templates
from tests.engine.cli.conftest import Nightsweep

TEMPLATES = templates(Registry.installed())


@pytest.mark.parametrize("template", TEMPLATES, ids=[one.name for one in TEMPLATES])
def test_a_sweep_to_begin_with_is_valid_and_its_schema_is_beside_it(
    nightsweep: Nightsweep, tmp_path: Path, template: Template
) -> None:
    made = nightsweep("init", template.name)

    assert (made.returncode, made.stdout) == (0, f"{template.name}.yaml\n"), made.stderr
    path = tmp_path / f"{template.name}.yaml"
    assert Sweep.load(path).name == template.name
    assert Sweep.load(path).plan().cells > 0
    [schema] = re.findall(r"\A# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    validator = Draft7Validator(json.loads((path.parent / schema).read_text()))
    assert list(validator.iter_errors(YAML.read(path.read_text()))) == []
    for variable in template.variables:
        assert f"export {variable}=..." in made.stderr
    assert f"nightsweep run {template.name}.yaml" in made.stderr


def test_there_is_a_sweep_to_begin_with_for_each_service_and_kind_of_endpoint() -> None:
    assert {(one.service, one.name) for one in TEMPLATES} == {
        ("local", "built-in"),
        ("chat", "chat"),
        ("local", "endpoint"),
        ("local", "openrouter"),
        ("local", "vllm"),
        ("local", "ollama"),
        ("circuit-breaker-labs", "circuit-breaker-labs"),
        ("enkrypt", "enkrypt"),
    }
    for template in TEMPLATES:
        assert len(template.purpose) <= 52
        # What could be written instead is commented out, and is right as well.
        assert "# " in template.text.split("\n", 2)[2]


def test_the_sweep_is_named_after_its_file(nightsweep: Nightsweep, tmp_path: Path) -> None:
    made = nightsweep("init", "ollama", "--output", "2026.yml")

    assert made.returncode == 0, made.stderr
    assert Sweep.load(tmp_path / "2026.yml").name == "2026"


def test_no_file_is_overwritten_unless_that_is_asked_for(
    nightsweep: Nightsweep, tmp_path: Path
) -> None:
    (tmp_path / "ollama.yaml").write_text("mine")

    refused = nightsweep("init", "ollama")
    kept = (tmp_path / "ollama.yaml").read_text()
    forced = nightsweep("init", "ollama", "--force")

    assert (refused.returncode, refused.stdout, kept) == (2, "", "mine")
    assert "ollama.yaml already exists" in refused.stderr
    assert "--force" in refused.stderr
    assert forced.returncode == 0
    assert "llama3.2" in (tmp_path / "ollama.yaml").read_text()


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (("opnrouter",), "there is no sweep for 'opnrouter'; did you mean \"openrouter\"?"),
        (("7",), "there is no sweep for '7'; known: built-in, chat, circuit-breaker-labs"),
        (("ollama", "--output", "sweep.toml"), "give the file the ending .yaml"),
        (("ollama", "--output", "no/such/sweep.yaml"), "cannot be written: No such file"),
        (("ollama", "--output", " .yaml"), "its name has no visible characters"),
        ((), "say what the sweep is for: nightsweep init built-in|chat|circuit-breaker-labs"),
    ],
)
def test_what_cannot_be_written_is_wrong_usage(
    nightsweep: Nightsweep, tmp_path: Path, args: tuple[str, ...], problem: str
) -> None:
    before = sorted(tmp_path.iterdir())

    refused = nightsweep("init", *args)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert problem in refused.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("typed", [b"6\n", b"ollama\n"])
def test_on_a_terminal_it_is_asked_what_the_sweep_is_for(
    nightsweep: Nightsweep, tmp_path: Path, typed: bytes
) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed)
        ended = nightsweep("init", streams={0: theirs, 2: theirs})
        asked = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)

    assert ended.returncode == 0, asked
    assert "6  ollama                A model on this machine, through Ollama" in asked
    assert max(map(len, asked.splitlines())) < 80
    assert (tmp_path / "ollama.yaml").exists()


def test_a_question_that_is_broken_off_ends_the_command_as_interrupted(
    nightsweep: Nightsweep, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    try:
        # The end of the input; Ctrl-C takes the same way.
        os.write(ours, b"\x04")
        ended = nightsweep("init", streams={0: theirs, 2: theirs})
        output = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)

    assert ended.returncode == 130, output
    assert output.endswith("\r\nnightsweep: interrupted\r\n")
    assert not list(tmp_path.glob("*.yaml"))


def test_a_schema_is_printed_for_a_service_or_for_all(nightsweep: Nightsweep) -> None:
    one, every = nightsweep("schema", "scripted"), nightsweep("schema")

    assert (one.returncode, every.returncode) == (0, 0), one.stderr + every.stderr
    kinds = json.loads(every.stdout)["properties"]["service"]["properties"]["kind"]["enum"]
    assert {"local", "circuit-breaker-labs", "enkrypt", "scripted"} <= set(kinds)
    sweep = {
        "name": "night",
        "service": {"kind": "scripted"},
        "evaluation": "scripted",
        "matrix": {"models": ["a"], "thresholds": [0.5]},
    }
    for schema in (json.loads(one.stdout), json.loads(every.stdout)):
        assert list(Draft7Validator(schema).iter_errors(sweep)) == []
        assert list(Draft7Validator(schema).iter_errors({**sweep, "limit": {}})) != []


def test_a_schema_in_a_file_is_replaced_and_nothing_else_is(
    nightsweep: Nightsweep, tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text("name: night\n")

    first = nightsweep("schema", "local", "--output", "night.schema.json")
    again = nightsweep("schema", "enkrypt", "--output", "night.schema.json")
    refused = nightsweep("schema", "local", "--output", "sweep.yaml")

    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    assert "# yaml-language-server: $schema=night.schema.json" in first.stderr
    assert again.returncode == 0
    written = json.loads((tmp_path / "night.schema.json").read_text())
    assert written["properties"]["evaluation"]["enum"] == ["model_health"]
    assert refused.returncode == 2
    assert "sweep.yaml already exists and is not a schema" in refused.stderr
    assert (tmp_path / "sweep.yaml").read_text() == "name: night\n"


@pytest.mark.parametrize("target", ["no/such/folder.json", "."])
def test_a_schema_that_cannot_be_written_is_a_named_error(
    nightsweep: Nightsweep, target: str
) -> None:
    refused = nightsweep("schema", "--output", target)

    assert refused.returncode == 2
    assert f"{target}: cannot be written" in refused.stderr


def test_an_unknown_service_is_reported_with_the_nearest_name(nightsweep: Nightsweep) -> None:
    assert "there is no service 'lokal'" in nightsweep("schema", "lokal").stderr
