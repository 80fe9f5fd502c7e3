"""The plan and the warnings of a sweep over one's own models, before anything is sent."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from engine.cli.app import app
from tests.jobs.evaluator.models import write_group_of_one

ENDPOINT = {"base_url": "http://127.0.0.1:9/v1"}
JUDGE = {"kind": "rubric", "endpoint": ENDPOINT, "model": "acme/judge-1"}
ATTACKER = {"endpoint": ENDPOINT, "model": "acme/attacker-1"}
TRANSLATING = {**ATTACKER, "translations": ["es"]}
LAYERS = {"variations": [3], "maximum_iteration_layers": [2]}


def plan_document(folder: Path, service: dict[str, Any], *arguments: str, **matrix: Any) -> Any:
    """The outcome of `plan` for one cell over two cases or one, in `two` and `one`."""
    for name, count in (("one", 1), ("two", 2)):
        write_group_of_one(folder, "I hurt so much today.")
        group = json.loads((folder / "one.yaml").read_text("utf-8"))
        cases = [{**group["cases"][0], "id": f"{name}-{n:02}"} for n in range(count)]
        written = json.dumps({**group, "name": name, "cases": cases})
        (folder / f"{name}.yaml").write_text(written, encoding="utf-8")
    return plan(folder, service, *arguments, **matrix)


def plan(
    folder: Path,
    service: dict[str, Any],
    *arguments: str,
    limits: Mapping[str, Any] | None = None,
    **matrix: Any,
) -> Any:
    document = {
        "name": "planned",
        "service": {"kind": "local", "endpoint": ENDPOINT, "cases": str(folder), **service},
        "evaluation": "multi_turn" if "max_turns" in matrix else "single_turn",
        "matrix": {
            "models": ["any"],
            "prompts": [{"name": "bare", "text": "Be kind."}],
            "groups": ["one"],
            "thresholds": [0.5],
            **matrix,
        },
        "limits": dict(limits or {}),
    }
    file = folder / "planned.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return CliRunner().invoke(app, ["plan", str(file), *arguments])


@pytest.mark.parametrize(
    ("service", "matrix", "calls"),
    [
        ({}, {}, {"target": 2}),
        ({"judge": JUDGE}, {}, {"target": 2, "judge": 2}),
        ({"attacker": ATTACKER}, LAYERS, {"target": 26, "attacker": 8}),
        (
            {"judge": JUDGE, "attacker": TRANSLATING},
            LAYERS,
            {"target": 26, "judge": 26, "attacker": 8 * 3},
        ),
        (
            {"judge": JUDGE, "attacker": ATTACKER},
            {"max_turns": [8]},
            {"target": 2 * 4, "judge": 2 * 5, "attacker": 2 * 3},
        ),
    ],
)
def test_the_calls_of_target_judge_and_attacker_are_planned(
    tmp_path: Path, service: dict[str, Any], matrix: dict[str, Any], calls: dict[str, int]
) -> None:
    outcome = plan_document(tmp_path, service, "--json", groups=["two"], **matrix)

    found = json.loads(outcome.stdout)
    assert found["calls"] == calls
    assert found["requests"] == sum(calls.values())


def test_the_calls_of_all_cells_and_repeats_are_added_up(tmp_path: Path) -> None:
    outcome = plan_document(tmp_path, {"judge": JUDGE}, groups=["one", "two"], repeats=2)

    assert "requests   at most 12: 6 to the target, 6 to the judge" in outcome.stdout


def test_hours_count_calls_and_the_finish_is_a_time_of_the_clock(tmp_path: Path) -> None:
    limits = {"rate_per_min": 1, "window": "22:00-07:00", "timezone": "Europe/Berlin"}

    outcome = plan_document(tmp_path, {"judge": JUDGE}, groups=["two"], repeats=180, limits=limits)
    found = json.loads(
        plan_document(
            tmp_path, {"judge": JUDGE}, "--json", groups=["two"], repeats=180, limits=limits
        ).stdout
    )

    assert "time       at least 12 h 00 min, bound by rate_per_min: 1" in outcome.stdout
    assert "at the earliest, starting now, only within 22:00-07:00 Europe/Berlin" in outcome.stdout
    assert (found["requests"], found["hours"], found["binding"]) == (720, 12.0, "rate_per_min: 1")
    # Twelve hours do not fit into one night.
    assert found["finish_at"] - found["starts_at"] > 12 * 3600
    ends = datetime.fromtimestamp(found["finish_at"], ZoneInfo("Europe/Berlin"))
    assert ends.hour >= 22 or ends.hour < 7
    assert found["window"] == "22:00-07:00 Europe/Berlin"


def test_a_deadline_that_comes_before_the_finish_is_warned_of(tmp_path: Path) -> None:
    soon = datetime.fromtimestamp(time() + 3600, UTC).isoformat()
    limits = {"rate_per_min": 1, "deadline": soon}

    late = plan_document(tmp_path, {}, groups=["two"], repeats=180, limits=limits)
    early = plan_document(tmp_path, {}, groups=["two"], repeats=2, limits=limits)

    assert "is before that: cells that are left then are not asked" in late.stdout
    assert "deadline" not in early.stdout


def test_a_run_that_a_cap_cuts_short_has_no_finish(tmp_path: Path) -> None:
    outcome = plan_document(
        tmp_path, {}, groups=["two"], repeats=10, limits={"rate_per_min": 1, "requests": 19}
    )

    assert "bound by requests: 19 of 20 needed" in outcome.stdout
    assert "finish" not in outcome.stdout


def test_the_built_in_model_gets_questions_and_no_requests(tmp_path: Path) -> None:
    write_group_of_one(tmp_path, "I hurt so much today.")
    limits = {"rate_per_min": 1, "requests": 1}
    service = {"endpoint": None, "cases": str(tmp_path)}

    alone = plan(tmp_path, service, models=["smollm2-135m"], repeats=5, limits=limits)
    judged = plan(
        tmp_path, {**service, "judge": JUDGE}, "--json", models=["smollm2-135m"], repeats=5
    )

    found = json.loads(judged.stdout)
    assert "requests   none; at most 5 questions to the model in this process" in alone.stdout
    assert "time       unknown: no limit applies" in alone.stdout
    assert (found["requests"], found["calls"], found["questions"]) == (5, {"judge": 5}, 5)


@pytest.mark.parametrize(
    ("matrix", "warned"),
    [
        ({}, 1),
        ({"maximum_iteration_layers": [0, 1]}, 0),
        ({"max_turns": [4]}, 1),
    ],
)
def test_unused_translations_are_reported(
    tmp_path: Path, matrix: dict[str, Any], warned: int
) -> None:
    outcome = plan_document(tmp_path, {"judge": JUDGE, "attacker": TRANSLATING}, **matrix)

    assert outcome.exit_code == 0
    assert outcome.stderr.count("translations has no effect") == warned


@pytest.mark.parametrize(
    ("service", "judge_warned", "attacker_warned"),
    [
        ({}, True, False),
        ({"judge": JUDGE}, False, False),
        ({"judge": JUDGE, "attacker": ATTACKER}, False, True),
    ],
)
def test_neither_the_rules_judge_nor_the_list_for_attackers_reads_other_languages(
    tmp_path: Path, service: dict[str, Any], judge_warned: bool, attacker_warned: bool
) -> None:
    write_group_of_one(tmp_path, "Hoy me duele todo.", locale="es-MX")

    outcome = plan(tmp_path, service)

    expected = "the rules judge reads English only: its scores of 1 of 1 cases of one (es-MX)"
    assert (expected in outcome.stderr) is judge_warned
    expected = "the attacker writes English only: it is not used for 1 of 1 cases of one (es-MX)"
    assert (expected in outcome.stderr) is attacker_warned


def test_a_wrong_setting_is_not_followed_by_a_mistake_that_is_none(tmp_path: Path) -> None:
    outcome = plan_document(tmp_path, {"judge": "rules", "attacker": TRANSLATING})

    assert "the rules judge reads English only" in str(outcome.exception)
    assert "is not allowed" not in str(outcome.exception)


def test_all_groups_are_counted_before_they_are_known(tmp_path: Path) -> None:
    outcome = plan_document(tmp_path, {}, "--json", groups="all")

    assert outcome.exit_code == 0
    # Those of the test beside the built-in ones.
    assert json.loads(outcome.stdout)["calls"] == {"target": 202 + 1 + 2}


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        ({"kind": "rubric", "endpoint": ENDPOINT}, ["service.judge.model: is missing"]),
        (
            "rulez",
            [
                'service.judge: must be rules, or {kind: rubric, endpoint: ..., model: ...}; did you mean "rules"?'
            ],
        ),
    ],
)
def test_a_mistake_in_a_judge_is_reported_once_and_in_words_of_the_file(
    tmp_path: Path, judge: Any, expected: list[str]
) -> None:
    outcome = plan_document(tmp_path, {"judge": judge})

    # Each begins with its file, line and column.
    messages = [str(problem).partition(": ")[2] for problem in outcome.exception.problems]
    assert messages == expected
