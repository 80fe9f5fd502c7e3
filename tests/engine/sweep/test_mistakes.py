"""Each mistake in a sweep, with the path and the words that the user gets."""

from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import SweepError
from engine.sweep import Sweep
from tests.engine.sweep.kinds import REGISTRY
from tests.engine.sweep.sweeps import matrix, parse, problems, sweep_file

PROMPT = {"name": "p", "text": "P"}


def test_all_mistakes_are_reported_together() -> None:
    found = problems(
        {
            "name": "a/b",
            "servis": 1,
            "service": {"kind": "labs", "api_key": "sk-1", "helth": "gate", "health": "gatte"},
            "evaluation": "single_turn",
            "matrix": matrix(models=["a", "a"], thresholds=[0.3, 1.5], max_turns=[4], layer=[1]),
            "include": [{"thresholds": 3}],
            "exclude": [{"models": "b", "moods": "x", "groups": "manja"}],
            "limits": {"rate_per_min": 0, "max_in_fligth": 2, "models": {"x/*": {"rate": 1}}},
            "retry": {"attempts": True},
            "fold": "sometimes",
        }
    )

    assert set(found) == {
        "name",
        "servis",
        "service.api_key",
        "service.helth",
        "service.health",
        "limits.rate_per_min",
        "limits.max_in_fligth",
        "limits.models.x/*.rate",
        "retry.attempts",
        "fold",
        "matrix.models[1]",
        "matrix.thresholds[1]",
        "matrix.max_turns",
        "matrix.layer",
        "include[0].thresholds",
        "exclude[0].moods",
        "exclude[0].groups",
    }


def test_all_mistakes_of_the_matrix_and_its_rules_are_reported_together() -> None:
    found = problems(
        name="",
        matrix=matrix(models=["a", "a"], thresholds=[0.3, 1.5], max_turns=[4], layer=[1]),
        include=[{"thresholds": 3}],
        exclude=[{"models": "b", "moods": "x", "groups": "manja"}],
    )

    assert found == {
        "name": "must have 1 to 100 characters",
        "matrix.models[1]": "a is listed already, at matrix.models[0]",
        "matrix.thresholds[1]": "1.5 is above 1",
        "matrix.max_turns": "is an axis of multi_turn, not of single_turn",
        "matrix.layer": 'unknown axis; did you mean "layers"?',
        "include[0].thresholds": "3 is above 1",
        "exclude[0].moods": 'unknown axis; did you mean "models"?',
        "exclude[0].groups": 'manja is none of groups; did you mean "mania"?',
    }


def test_an_error_names_its_source_on_each_line() -> None:
    with pytest.raises(SweepError) as caught:
        Sweep.parse(sweep_file(name="", fold="no"), registry=REGISTRY, source="night.yaml")

    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("night.yaml: ") for line in lines)


@pytest.mark.parametrize(
    ("axis", "values", "path", "message"),
    [
        ("thresholds", [0.3, 0.5, 1.5], "[2]", "1.5 is above 1"),
        ("thresholds", [-0.1], "[0]", "-0.1 is below 0"),
        ("thresholds", [True], "[0]", "must be a number, not true"),
        ("thresholds", ["0.5"], "[0]", "must be a number, not text: leave out the quotes"),
        ("thresholds", [float("nan")], "[0]", "must be a finite number"),
        ("thresholds", [float("inf")], "[0]", "must be a finite number"),
        ("thresholds", [10**400], "[0]", "the number is too large"),
        ("thresholds", [1, 1.0], "[1]", "1.0 is listed already, at matrix.thresholds[0]"),
        ("thresholds", [0.0, -0.0], "[1]", "0.0 is listed already, at matrix.thresholds[0]"),
        ("thresholds", [], "", "is empty: give it a value"),
        ("thresholds", 0.5, "", "must be a list, or {from: ..., to: ..., step: ...}"),
        ("thresholds", None, "", "is missing"),
        ("thresholds", {"from": 0, "to": 1}, ".step", "is missing"),
        ("thresholds", {"from": 0, "to": 1, "step": True}, ".step", "must be a number, not true"),
        ("thresholds", {"from": 0, "to": 1, "stop": 1}, ".stop", "unknown key; did you mean \"step\"?"),
        ("thresholds", {"from": 0, "to": 1, "step": 0}, "", "step must be above 0"),
        ("thresholds", {"from": 1, "to": 0, "step": 1}, "", "from is above to"),
        ("thresholds", {"from": 0, "to": 2, "step": 0.5}, "", "1.5 is above 1"),
        ("thresholds", {"from": 0, "to": 1, "step": 1e-9}, "", "has more than 100,000 values"),
        ("variations", [1.0], "[0]", "must be a whole number, not 1.0"),
        ("variations", [True], "[0]", "must be a number, not true"),
        ("variations", [0], "[0]", "0 is below 1"),
        ("variations", {"from": 1, "to": 2, "step": 0.5}, "", "must be a whole number, not 1.0"),
        ("models", "acme/one", "", "must be a list, not text"),
        ("models", {"a": 1}, "", "must be a list, not a mapping"),
        ("models", [5], "[0]", "must be text: write it in quotes"),
        ("models", [""], "[0]", "must not be empty"),
        ("models", [" "], "[0]", "must not be empty"),
        ("models", [" a"], "[0]", "has white space at its beginning or end"),
        ("models", ["a\nb"], "[0]", "contains control characters (U+000A)"),
        ("models", ["a\u202eb"], "[0]", "contains control characters (U+202E)"),
        ("models", ["\u200d"], "[0]", "must not be empty"),
        ("models", ["a\0b"], "[0]", "holds characters that are not valid text"),
        ("models", ["\ud800"], "[0]", "holds characters that are not valid text"),
        ("models", ["a" * 301], "[0]", "is longer than 300 characters"),
        ("models", [None], "[0]", "must be text, but is empty"),
        ("models", [b"a"], "[0]", "a bytes cannot be used in a sweep"),
        ("groups", "mania", "", "must be a list of names, or all"),
        ("styles", ["tense"], "[0]", "there is no style tense; did you mean \"terse\"?"),
        ("styles", ["x"], "[0]", "there is no style x; known: florid, plain, terse"),
        ("repeats", 0, "", "0 is below 1"),
        ("repeats", 10_001, "", "10001 is above 10000"),
        ("repeats", True, "", "must be a whole number, not true"),
        ("repeats", "3", "", "must be a whole number, not text: leave out the quotes"),
        ("prompts", ["bare"], "[0]", "must be {name: ..., text: ...} or {file: ...}"),
        ("prompts", [{"name": "p"}], "[0]", "must be {name: ..., text: ...} or {file: ...}"),
        ("prompts", [{"name": "p", "text": 5}], "[0].text", "must be text, not 5"),
        ("prompts", [{"text": "P"}], "[0].name", "is missing"),
        ("prompts", [{"name": "p", "text": "P", "column": "c"}], "[0].column", "unknown key; did you mean \"name_column\"?"),
        ("prompts", [{"name": "p", "txt": "P"}], "[0].txt", "unknown key; did you mean \"text\"?"),
        ("prompts", [{"name": 5, "text": "P"}], "[0].name", "must be text: write it in quotes"),
        ("prompts", [PROMPT, {"name": "p", "text": "Q"}], "[1]", "another prompt of the name p is at matrix.prompts[0]; rename one"),
        ("prompts", [PROMPT, {"name": "q", "text": "P\n"}], "[1]", "q is the same as p, which is listed already, at matrix.prompts[0]"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_reported_with_its_path(
    axis: str, values: Any, path: str, message: str
) -> None:
    assert problems(matrix=matrix(**{axis: values})) == {f"matrix.{axis}{path}": message}


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"name": None}, "name", "is missing"),
        ({"name": 5}, "name", "must be text, not 5"),
        ({"name": "x" * 101}, "name", "must have 1 to 100 characters"),
        ({"name": "a\nb"}, "name", "contains control characters (U+000A)"),
        ({"name": "\u200d"}, "name", "has no visible characters"),
        ({"name": "a\\b"}, "name", "is used in names of files: it must not contain / or \\"),
        ({"name": ".."}, "name", "is used in names of files: it must not contain / or \\"),
        ({"name": " a"}, "name", "has white space at its beginning or end"),
        ({"service": None}, "service", "is missing"),
        ({"service": "labs"}, "service", "must be a mapping, not text"),
        ({"service": {}}, "service.kind", "is missing"),
        ({"service": {"kind": 5}}, "service.kind", "must be text, not 5"),
        ({"service": {"kind": "lab"}}, "service.kind", "there is no service 'lab'; did you mean \"labs\"?"),
        ({"service": {"kind": "labs", "timeout_s": 0}}, "service.timeout_s", "0 is not above 0"),
        ({"service": {"kind": "labs", "timeout_s": 601}}, "service.timeout_s", "601 is above 600"),
        ({"service": {"kind": "labs", "base_uri": "x"}}, "service.base_uri", "unknown key; did you mean \"base_url\"?"),
        ({"service": {"kind": "labs", "regions": "eu"}}, "service.regions", "must be a list, not text"),
        ({"service": {"kind": "labs", "health": "gait"}}, "service.health", "there is no health gate 'gait'; did you mean \"gate\"?"),
        ({"service": {"kind": "labs", "health": 5}}, "service.health", "must be the kind of a health gate, or {kind: ..., ...}"),
        ({"service": {"kind": "labs", "health": {"kind": "gate", "every": 5}}}, "service.health.every", "unknown key; did you mean \"every_s\"?"),
        ({"evaluation": "single"}, "evaluation", "this service has no single; did you mean \"single_turn\"?"),
        ({"evaluation": None}, "evaluation", "is missing"),
        ({"target": "fintune"}, "target", "single_turn has no target fintune; did you mean \"finetune\"?"),
        ({"target": "finetune"}, "matrix.prompts", "is an axis for target system_prompt, not for finetune"),
        ({"matrix": []}, "matrix", "must be a mapping, not a list"),
        ({"include": {}}, "include", "must be a list, not a mapping"),
        ({"include": ["x"]}, "include[0]", "must be a mapping, not text"),
        ({"include": [{}]}, "include[0]", "names no axis"),
        ({"include": [{"models": []}]}, "include[0].models", "is empty: give it a value, or leave it out"),
        ({"include": [{"model": "a"}]}, "include[0].model", "unknown axis; did you mean \"models\"?"),
        ({"include": [{"prompts": "kin"}]}, "include[0].prompts", "kin is none of matrix.prompts; did you mean \"kind\"?"),
        ({"include": [{"prompts": {"name": "bare", "text": "X"}}]}, "include[0].prompts", "prompt bare is in the sweep with another text"),
        ({"include": [{"prompts": {"name": "x", "text": "Help."}}]}, "include[0].prompts", "prompt x is in the sweep with another name"),
        ({"include": [{"models": ["a", "a"]}]}, "include[0].models[1]", "a is listed already, at include[0].models[0]"),
        ({"exclude": [{}]}, "exclude[0]", "names no axis"),
        ({"exclude": [{"models": 5}]}, "exclude[0].models", "must be the name of a model, or a pattern of names"),
        ({"exclude": [{"thresholds": "0.*"}]}, "exclude[0].thresholds", "must be a number, not text"),
        ({"exclude": [{"thresholds": [0.3, 0.4]}]}, "exclude[0].thresholds", "0.4 is none of thresholds; did you mean \"0.7\"?"),
        ({"exclude": [{"models": "acme/oen"}]}, "exclude[0].models", "acme/oen is none of models; did you mean \"acme/one\"?"),
        ({"exclude": [{"models": "*"}]}, "exclude", "leaves no cell"),
        ({"limits": []}, "limits", "must be a mapping, not a list"),
        ({"limits": {"rate_per_min": 1.5}}, "limits.rate_per_min", "must be a whole number, not 1.5"),
        ({"limits": {"max_in_flight": 0}}, "limits.max_in_flight", "0 is below 1"),
        ({"limits": {"quota": 5}}, "limits.quota", "must be a mapping, not 5"),
        ({"limits": {"quota": {"test": 5}}}, "limits.quota.test", "unknown key; did you mean \"tests\"?"),
        ({"limits": {"models": {"x/*": {"rate_per_mn": 5}}}}, "limits.models.x/*.rate_per_mn", "unknown key; did you mean \"rate_per_min\"?"),
        ({"limits": {"window": "22-7", "timezone": "UTC"}}, "limits.window", 'must be two times of day such as "22:00-07:00"'),
        ({"limits": {"window": "22:00-22:00", "timezone": "UTC"}}, "limits.window", "opens and closes at the same time"),
        ({"limits": {"window": "22:00-07:00"}}, "limits", "window needs a timezone, such as Europe/Berlin"),
        ({"limits": {"timezone": "UTC"}}, "limits", "timezone is only used with a window"),
        ({"limits": {"window": "22:00-07:00", "timezone": "../etc/passwd"}}, "limits.timezone", "is not a time zone this machine knows, such as Europe/Berlin"),
        ({"limits": {"deadline": "tomorrow"}}, "limits.deadline", "must be a date and time with its zone, such as 2026-11-02T07:00:00+01:00"),
        ({"limits": {"deadline": "2026-11-02T07:00:00"}}, "limits.deadline", "has no time zone: add one, such as Z or +01:00"),
        ({"retry": {"attempts": 0}}, "retry.attempts", "0 is below 1"),
        ({"retry": {"base_delay_s": 400}}, "retry", "base_delay_s is above max_delay_s"),
        ({"retry": {"base_delay": 4}}, "retry.base_delay", "unknown key; did you mean \"base_delay_s\"?"),
        ({"fold": "sometimes"}, "fold", "must be 'exact', 'always' or 'never'"),
        ({"reuse": "no"}, "reuse", "must be true or false, not no: write false"),
        ({"excludes": []}, "excludes", "unknown key; did you mean \"exclude\"?"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_reported_with_its_path(
    changes: dict[str, Any], path: str, message: str
) -> None:
    assert problems(**changes).get(path) == message


@pytest.mark.parametrize(
    "changes",
    [
        {"service": {"kind": "labs", "api_key": "sk-very-secret"}},
        {"service": {"kind": "labs", "api_key": ["sk-very-secret"]}},
        {"service": {"kind": "labs", "timeout_s": "sk-very-secret"}},
        {"evaluation": "pinging", "matrix": {"models": [{"model": "a", "api_key": "sk-very-secret"}]}},
        {"evaluation": "pinging", "matrix": {"models": [{"model": "a", "temperature": "sk-very-secret"}]}},
    ],
)  # fmt: skip
def test_a_literal_key_is_refused_and_never_repeated(changes: dict[str, Any]) -> None:
    with pytest.raises(SweepError) as caught:
        parse(**changes)

    assert "sk-very-secret" not in str(caught.value)
    assert "sk-very-secret" not in repr(caught.value.problems)


def test_the_matrix_is_read_however_wrong_the_settings_of_its_service_are() -> None:
    found = problems(
        service={"kind": "picky", "regions": "eu"}, matrix=matrix(thresholds=[1.5]), fold="no"
    )

    assert set(found) == {"service.regions", "matrix.thresholds[0]", "fold"}


def test_a_service_may_find_mistakes_in_settings_that_are_valid_by_themselves() -> None:
    found = problems(service={"kind": "picky"}, matrix=matrix(thresholds=[1.5]))

    assert found["service.regions"] == "must be given"
    assert set(found) == {"service.regions", "matrix.thresholds[0]"}


def test_a_misspelt_health_is_reported() -> None:
    found = problems(service={"kind": "labs", "helth": "gate"})

    assert found == {"service.helth": 'unknown key; did you mean "health"?'}


def test_a_literal_key_is_answered_with_the_words_for_doing_it_right() -> None:
    found = problems(service={"kind": "labs", "api_key": "sk-very-secret"})

    assert "`env:NAME`" in found["service.api_key"]


def test_a_document_is_judged_by_its_kind() -> None:
    def judge(*models: Any) -> dict[str, str]:
        return problems(evaluation="pinging", matrix={"models": list(models)})

    assert judge({"model": "none"}) == {"matrix.models[0]": "none is no model"}
    assert judge({"temperature": 1.0}) == {"matrix.models[0].model": "is missing"}
    assert judge("a") == {"matrix.models[0]": "must be a mapping, or {file: ...}"}
    assert judge({"model": "a"}, {"model": "a", "temperature": 0}) == {
        "matrix.models[1]": "a is listed already, at matrix.models[0]"
    }


def test_a_duplicate_key_in_the_file_of_a_document_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.json").write_text('{"model": "a",\n "model": "b"}')

    found = problems(evaluation="pinging", matrix={"models": [{"file": "one.json"}]})

    assert found == {
        "matrix.models[0]": "one.json: line 2, column 2: the key occurs twice: keep one"
    }


def test_a_pattern_that_fits_nothing_is_a_warning() -> None:
    sweep = parse(exclude=[{"models": ["qwen/*", "acme/*"]}])

    assert [str(warning) for warning in sweep.warnings] == [
        "exclude[0].models: qwen/* matches none of models"
    ]


def test_a_limit_of_no_model_is_a_warning() -> None:
    limits = {"models": {"acne/*": {"rate_per_min": 5}, "acme/*": {}, "other/three": {}}}

    sweep = parse(limits=limits)

    assert [str(warning) for warning in sweep.warnings] == [
        "limits.models.acne/*: matches no model and limits nothing; known: acme/one, acme/two, other/three"
    ]
    assert Sweep.restore(sweep.dump(), REGISTRY).warnings == sweep.warnings


@pytest.mark.parametrize("file", [None, [], "text", 5, True])
def test_something_else_than_a_mapping_is_refused(file: Any) -> None:
    with pytest.raises(SweepError, match="it needs name, service, evaluation, matrix"):
        Sweep.parse(file, registry=REGISTRY)


def test_a_mapping_that_contains_itself_is_refused() -> None:
    file = sweep_file()
    file["matrix"] = {"models": [file]}

    assert problems(file) == {"": "nested more than 32 levels deep"}


def test_keys_must_be_text() -> None:
    assert problems({**sweep_file(), 5: 1}) == {"": "the key 5 must be text: write it in quotes"}


def test_a_matrix_beyond_all_nights_is_refused() -> None:
    found = problems(matrix=matrix(models=[f"m{n}" for n in range(1000)], repeats=10_000))

    assert found == {
        "matrix": "has 120,000,000 cells, more than 10,000,000: make several sweeps of it"
    }


def test_too_many_rules_are_refused() -> None:
    found = problems(exclude=[{"models": "x*"}] * 10_001)

    assert found == {"exclude": "has more than 10,000 entries"}
