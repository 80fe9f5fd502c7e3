"""`schema` writes what editors read."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from tests.engine.cli.conftest import Nightsweep


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
    assert "sweep.yaml is there already and is no schema" in refused.stderr
    assert (tmp_path / "sweep.yaml").read_text() == "name: night\n"


@pytest.mark.parametrize("target", ["no/such/folder.json", "."])
def test_a_schema_that_cannot_be_written_is_a_named_error(
    nightsweep: Nightsweep, target: str
) -> None:
    refused = nightsweep("schema", "--output", target)

    assert refused.returncode == 2
    assert f"{target}: cannot be written" in refused.stderr


def test_a_service_that_is_not_there_is_told_with_the_nearest(nightsweep: Nightsweep) -> None:
    assert "there is no service 'lokal'" in nightsweep("schema", "lokal").stderr
