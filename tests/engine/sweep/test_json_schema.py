"""The schema of sweep files takes what a sweep takes, and refuses what an editor can see to be wrong."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from engine import Registry, Sweep, SweepError, UsageError
from engine.documents.document import YAML
from engine.sweep.json_schema import sweep_schema
from tests.docs.pages import blocks
from tests.paths import ROOT

SERVICES = ("chat", "circuit-breaker-labs", "enkrypt", "local")

LOCAL = """
name: night
service: {kind: local, endpoint: {base_url: "http://127.0.0.1:9/v1"}}
evaluation: single_turn
matrix: {models: [a], prompts: [{name: p, text: hi}], groups: [self_harm], thresholds: [0.5]}
"""
CBL = """
name: night
service: {kind: circuit-breaker-labs, api_key: env:CBL_API_KEY}
evaluation: single_turn
matrix: {models: [a], prompts: [{name: p, text: hi}], groups: all, thresholds: [0.5]}
"""
ENKRYPT = """
name: night
service: {kind: enkrypt}
evaluation: model_health
matrix:
  models:
    - testing_for: foundationModels
      model_name: a
      model_config: {endpoint: {scheme: https, host: example.org}, apikeys: [env:KEY]}
"""


@cache
def validator(service: str | None) -> Draft7Validator:
    schema = sweep_schema(Registry.installed(), service)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def schema_errors(service: str | None, sweep: Any) -> list[str]:
    """What the schema has against a sweep."""
    return [error.message for error in validator(service).iter_errors(sweep)]


def is_loaded(sweep: Any, folder: Path) -> bool:
    try:
        Sweep.parse(sweep, folder=folder)
    except SweepError:
        return False
    return True


def change(text: str, path: str, value: str | None) -> Any:
    """A sweep with the value at a dotted path replaced by one in YAML, or without it."""
    sweep = YAML.read(text)
    *outside, last = path.split(".")
    place = sweep
    for key in outside:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    if value is None:
        del place[last]
    else:
        place[last] = YAML.read(value)
    return sweep


def sweeps() -> list[tuple[str, str]]:
    """Every sweep of the documentation, each with its place."""
    texts = [one for one in blocks("yaml") if "write-a-job-kind" not in one[0]]
    texts += [(path.name, path.read_text()) for path in (ROOT / "docs/examples").glob("*.yaml")]
    return [(where, text) for where, text in texts if "matrix" in YAML.read(text)]


@pytest.mark.parametrize(("where", "text"), sweeps(), ids=[where for where, _ in sweeps()])
def test_every_sweep_of_the_docs_fits_its_schema(where: str, text: str) -> None:
    sweep = YAML.read(text)

    assert schema_errors(sweep["service"]["kind"], sweep) == [], where
    assert schema_errors(None, sweep) == [], where


@pytest.mark.parametrize("text", [LOCAL, CBL, ENKRYPT])
@pytest.mark.parametrize("service", SERVICES)
def test_a_schema_is_that_of_one_service(service: str, text: str) -> None:
    sweep = YAML.read(text)

    assert (schema_errors(service, sweep) == []) == (sweep["service"]["kind"] == service)


def test_the_schema_leaves_room_for_groups_of_one_s_own() -> None:
    assert schema_errors(None, change(LOCAL, "matrix.groups", "[self_harm, of_my_own]")) == []


GOOD = [
    (LOCAL, "matrix.groups", "all"),
    (LOCAL, "matrix.groups", "[all]"),
    (LOCAL, "matrix.groups", "[self_harm, mania]"),
    (LOCAL, "matrix.thresholds", "{from: 0.1, to: 0.9, step: 0.1}"),
    (LOCAL, "matrix.prompts", "{file: p.txt}"),
    (LOCAL, "matrix.prompts", "[{file: p.csv, column: t, name_column: n}, {name: q, text: q}]"),
    (LOCAL, "matrix.prompts", "[{name: b, text: null}]"),
    (LOCAL, "matrix.prompts", '[{name: f, text: "{{n}}", fill: p.csv}]'),
    (LOCAL, "matrix.prompts", '[{name: f, text: "{{n}}", literal: true}]'),
    (LOCAL, "matrix.repeats", "3"),
    (LOCAL, "matrix.variations", "{from: 1, to: 5, step: 2}"),
    (LOCAL, "include", "[{models: b}, {models: [c, d], thresholds: 0.7, prompts: p}]"),
    (LOCAL, "include", "[{prompts: {name: more, text: more}}]"),
    (LOCAL, "exclude", '[{models: "b*", thresholds: [0.5]}]'),
    (LOCAL, "target", "system_prompt"),
    (LOCAL, "limits.window", '"22:00-07:00"'),
    (LOCAL, "limits.models", '{"a*": {rate_per_min: 3}}'),
    (LOCAL, "limits.quota", "null"),
    (LOCAL, "service.judge", "rules"),
    (LOCAL, "service.judge", '{kind: rubric, endpoint: {base_url: "http://h/v1"}, model: m}'),
    (LOCAL, "service.endpoint.query", "{api-version: 2024, key: env:KEY}"),
    (LOCAL, "service.endpoint.parameter_names", "{seed: null}"),
    (LOCAL, "service.health", "enkrypt"),
    (LOCAL, "service.health", "{kind: enkrypt, base_url: 'http://h'}"),
    (CBL, "service.api_key", '"dotenv:.env#CBL_API_KEY"'),
    (ENKRYPT, "matrix.models", "{file: e.json}"),
    (ENKRYPT, "matrix.models.0.name", "mine"),
]
BAD = [
    (LOCAL, "nmae", "x"),
    (LOCAL, "name", None),
    (LOCAL, "name", "a/b"),
    (LOCAL, "name", "7"),
    (LOCAL, "fold", "sometimes"),
    (LOCAL, "evaluation", "single-turn"),
    (LOCAL, "target", "openai_finetune"),
    (LOCAL, "matrix.model", "[a]"),
    (LOCAL, "matrix.models", None),
    (LOCAL, "matrix.models", "a"),
    (LOCAL, "matrix.models", "[]"),
    (LOCAL, "matrix.models", "[7]"),
    (LOCAL, "matrix.groups", "every"),
    (LOCAL, "matrix.thresholds", "[1.5]"),
    (LOCAL, "matrix.thresholds", "{from: 0.1, to: 0.9}"),
    (LOCAL, "matrix.prompts", "[text]"),
    (LOCAL, "matrix.prompts", "[{name: p, txt: hi}]"),
    (LOCAL, "matrix.prompts", "[{file: p.csv, colum: t}]"),
    (LOCAL, "matrix.prompts", "[{name: [p], text: hi}]"),
    (LOCAL, "matrix.variations", "[6]"),
    (LOCAL, "matrix.max_turns", "[4]"),
    (LOCAL, "matrix.repeats", "0"),
    (LOCAL, "include", "[{}]"),
    (LOCAL, "include", "[{model: b}]"),
    (LOCAL, "exclude", "[{thresholds: high}]"),
    (LOCAL, "limits.rate", "3"),
    (LOCAL, "limits.window", "22-7"),
    (LOCAL, "limits.max_in_flight", "0"),
    (LOCAL, "retry.atempts", "3"),
    (LOCAL, "service.endpiont", "{}"),
    (LOCAL, "service.endpoint.base_ulr", "x"),
    (LOCAL, "service.endpoint.parameter_names", "{top_k: x}"),
    (LOCAL, "service.judge", "strict"),
    (LOCAL, "service.judge", '{kind: rubric, endpoint: {base_url: "http://h/v1"}}'),
    (LOCAL, "service.health", "enkript"),
    (LOCAL, "service.health", "{kind: enkrypt, urls: x}"),
    (CBL, "service.api_key", "sk-live-0123456789"),
    (CBL, "service.api_key", None),
    (CBL, "matrix.prompts", "[{name: b, text: null}]"),
    (ENKRYPT, "evaluation", "single_turn"),
    (ENKRYPT, "matrix.models.0.model_name", None),
    (ENKRYPT, "matrix.models", "[a]"),
]


@pytest.mark.parametrize(
    ("text", "path", "value", "is_good"),
    [*((*one, True) for one in GOOD), *((*one, False) for one in BAD)],
)
def test_the_schema_and_the_sweep_agree(
    tmp_path: Path, text: str, path: str, value: str | None, is_good: bool
) -> None:
    (tmp_path / "p.txt").write_text("A prompt.")
    (tmp_path / "p.csv").write_text("n,t\none,A text.\n")
    (tmp_path / "e.json").write_text(
        '{"model_name": "b", "model_config": {"endpoint_url": "http://h/v1"}}'
    )
    sweep = change(text, path, value)
    if path == "limits.window":
        sweep["limits"]["timezone"] = "UTC"

    assert (schema_errors(YAML.read(text)["service"]["kind"], sweep) == []) == is_good
    assert (schema_errors(None, sweep) == []) == is_good
    assert is_loaded(sweep, tmp_path) == is_good


def test_everything_that_is_written_has_a_description() -> None:
    schema = sweep_schema(Registry.installed(), "local")
    parts = [schema, schema["properties"]["service"], *schema["$defs"].values()]

    lacking = [
        key
        for part in parts
        for key, one in part.get("properties", {}).items()
        if "description" not in one
        and not {"$ref", "allOf", "anyOf", "const"} & set(one)
        and key not in ("from", "to", "step")
    ]

    assert lacking == []


def test_groups_that_are_always_there_are_offered() -> None:
    matrix = sweep_schema(Registry.installed(), "local")["$defs"][
        "matrix.single_turn.system_prompt"
    ]
    [_, names] = matrix["properties"]["groups"]["anyOf"]

    assert "suicidal_ideation" in names["items"]["anyOf"][0]["enum"]


def test_a_service_that_is_not_installed_has_no_schema() -> None:
    with pytest.raises(UsageError, match="there is no service 'lokal'"):
        sweep_schema(Registry.installed(), "lokal")
