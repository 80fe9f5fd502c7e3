"""Questions without an answer do not affect the others, over HTTP as in process."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from engine import Row, RunState, Sweep, open_engine
from tests.engine.scenes import timeless_rows
from tests.jobs.chat.server import Asked
from tests.jobs.serve.running import (
    GROUP,
    MODEL,
    OTHER_GROUP,
    PROMPT,
    Running,
    by_rule,
    conversation,
    evaluation,
    service,
)

SINGLE = "/singleturn_evaluate_system_prompt"
MULTI = "/multiturn_evaluate_system_prompt"
WITHHELD = "(2)"
# Azure OpenAI's answer where its filter stands in the way:
# https://learn.microsoft.com/en-us/azure/ai-services/openai/concepts/content-filter
FILTERED = {
    "error": {
        "code": "content_filter",
        "message": "The response was filtered by the content management policy.",
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }
}
BODIES: Mapping[str, Any] = {SINGLE: evaluation, MULTI: conversation}
GROUPS = [GROUP, OTHER_GROUP]


class Models:
    """Models that refuse questions with one of some words, until they are set to answer."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, asked: Asked) -> tuple[int, Any]:
        question = "" if asked.body is None else asked.body["messages"][-1]["content"]
        if any(word in question for word in self.words):
            return 400, FILTERED
        return by_rule(asked)


@pytest.fixture(params=["all", "1.0.8", "1.0.11"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    with service(tmp_path, Models("alone (2)"), answers=request.param) as started:
        yield started


@pytest.mark.parametrize("path", [SINGLE, MULTI])
def test_the_other_questions_are_answered_charged_and_listed(running: Running, path: str) -> None:
    with running.client() as client:
        answer = client.post(path, json=BODIES[path](test_case_groups=GROUPS))
        charged = client.get("/monthly_quota").json()["generated_tests"]

    assert answer.status_code == 200
    found = answer.json()
    assert found["total_passed"] + found["total_failed"] == charged == 5
    assert found["total_unanswered"] == 1
    [lacking] = found["unanswered_results"]
    assert (lacking["case"], lacking["reason"]) == (f"{OTHER_GROUP}-02", "moderated")
    assert lacking["conversation_id"] == 4
    assert "content management policy" not in answer.text


def test_too_many_unanswered_questions_are_an_error_and_paid_replies_are_kept(
    tmp_path: Path,
) -> None:
    models = Models("(2)", "(3)")
    with service(tmp_path, models) as running, running.client() as client:
        refused = client.post(SINGLE, json=evaluation(test_case_groups=GROUPS))
        models.words = ()
        before = len(running.models.asked)
        answered = client.post(SINGLE, json=evaluation(test_case_groups=GROUPS))
        asked_again = len(running.models.asked) - before
        charged = client.get("/monthly_quota").json()["generated_tests"]

    assert refused.status_code == 500
    assert refused.json()["detail"]["error"] == "model_refused"
    assert answered.json()["total_unanswered"] == 0
    assert (asked_again, charged) == (4, 6)


def test_the_limit_of_unanswered_questions_can_be_configured(tmp_path: Path) -> None:
    limits = {"max_unanswered": 0.7}
    models = Models("(2)", "(3)")
    with service(tmp_path, models, limits=limits) as running, running.client() as client:
        answer = client.post(SINGLE, json=evaluation(test_case_groups=GROUPS))

    assert answer.json()["total_unanswered"] == 4


def test_the_openapi_document_describes_unanswered_questions(running: Running) -> None:
    with running.client() as client:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]

    answers = [one for one in schemas.values() if "total_passed" in one.get("properties", {})]
    assert answers
    for one in answers:
        assert {"total_unanswered", "unanswered_results"} <= set(one["properties"])


_LAYERS = {"variations": [2], "maximum_iteration_layers": [1]}
_TURNS = {"max_turns": [4]}


def sweep(running: Running, kind: str, evaluation: str, **matrix: Any) -> Sweep:
    served = {
        "local": {
            "kind": "local",
            "endpoint": {"base_url": running.models.base_url, "max_in_flight": 32},
            "cases": running.config.cases,
        },
        "over HTTP": {
            "kind": "circuit-breaker-labs",
            "base_url": running.base_url,
            "api_key": "env:OWN_SERVICE_KEY",
        },
    }
    return Sweep.parse(
        {
            "name": "same",
            "service": served[kind],
            "evaluation": evaluation,
            "matrix": {
                "models": [MODEL],
                "prompts": [{"name": "bare", "text": PROMPT}],
                "groups": [GROUP, OTHER_GROUP],
                "thresholds": [0.3, 0.5, 0.7],
                **matrix,
            },
            "max_unanswered": 0.7,
            "retry": {"attempts": 2, "base_delay_s": 0.05, "max_delay_s": 0.1},
        }
    )


async def run(store: Path, asked: Sweep) -> list[Row]:
    async with open_engine(store) as engine:
        submitted = await engine.submit(asked)
        status = await submitted.execute()
        assert status.state is RunState.FINISHED
        return await timeless_rows(submitted)


@pytest.mark.parametrize(
    ("evaluation", "matrix"), [("single_turn", _LAYERS), ("multi_turn", _TURNS)]
)
async def test_rows_of_unanswered_questions_are_the_same_in_process_and_over_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluation: str, matrix: dict[str, Any]
) -> None:
    limits = {"max_unanswered": 0.7}
    with service(tmp_path, Models(WITHHELD), limits=limits) as running:
        monkeypatch.setenv("OWN_SERVICE_KEY", running.key)
        here = await run(tmp_path / "here.db", sweep(running, "local", evaluation, **matrix))
        there = await run(tmp_path / "there.db", sweep(running, "over HTTP", evaluation, **matrix))

    assert [_numbers(row) for row in there] == [_numbers(row) for row in here]
    assert len(there) == 6
    for row in there:
        assert row.unanswered_reasons is not None
        assert set(row.unanswered_reasons) == {"moderated"}
        assert row.lowest_rate is not None
        assert row.highest_rate is not None
        assert row.lowest_rate < row.highest_rate
        assert row.error is not None
        assert "questions unanswered (moderated" in row.error


def _numbers(row: Row) -> dict[str, Any]:
    # In process the row also has the endpoint's own words, and it says which of the two was asked.
    return {name: value for name, value in asdict(row).items() if name not in ("error", "identity")}


async def test_conversations_fold_over_the_service_as_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path) as running:
        monkeypatch.setenv("OWN_SERVICE_KEY", running.key)
        here = await run(tmp_path / "here.db", sweep(running, "local", "multi_turn", **_TURNS))
        asked = len(running.models.asked)
        there = await run(
            tmp_path / "there.db", sweep(running, "over HTTP", "multi_turn", **_TURNS)
        )
        with running.client() as client:
            charged = client.get("/monthly_quota").json()["generated_tests"]

    assert [_numbers(row) for row in there] == [_numbers(row) for row in here]
    assert [row.source for row in there] == ["derived", "derived", "measured"] * 2
    assert len(running.models.asked) == 2 * asked
    assert charged == 6
