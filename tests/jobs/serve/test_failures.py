"""What the caller and the log learn of an evaluation without an answer: its cause, and no secrets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.kinds import RateLimited
from jobs.http import Unanswered
from jobs.serve.failures import EvaluationFailure
from tests.contracts.contract import contract
from tests.jobs.chat.server import Asked, completion
from tests.jobs.serve.running import MODEL, Running, evaluation, service

SINGLE = "/singleturn_evaluate_system_prompt"
FINETUNE = "/singleturn_evaluate_openai_finetune"
KEY_PART = "sk-proj-****0815"
"""Part of the operator's key, as providers quote it."""
_NO_CREDIT = {"error": {"message": f"no credit on the account of {KEY_PART}"}}
_REFUSED = {"error": {"message": f"Incorrect API key: {KEY_PART}"}}
_TOO_LONG = {"error": {"message": "the context holds 4096 tokens"}}
_BROKEN = {"error": {"message": f"Traceback: {KEY_PART}"}}
_ONCE = {"attempts": 1}


@dataclass
class Models:
    """Models that all give one reply, except `judge`, which has its own."""

    reply: tuple[int, Any] = (500, {})
    judge_reply: tuple[int, Any] = (500, {})

    def __call__(self, asked: Asked) -> tuple[int, Any]:
        return self.judge_reply if asked.body["model"] == "judge" else self.reply


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture(scope="module")
def running(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with service(tmp_path_factory.mktemp("failing"), models, limits=_ONCE) as started:
        yield started


def finetune_body() -> dict[str, Any]:
    body = evaluation(model_name="ft:acme:mine")
    del body["system_prompt"], body["openrouter_model_name"]
    return body


@pytest.mark.parametrize(
    ("reply", "status", "name", "message"),
    [
        ((401, _REFUSED), 500, "model_key_refused", "service's key for the model"),
        ((402, _NO_CREDIT), 500, "model_out_of_credit", "account"),
        ((400, _TOO_LONG), 500, "model_refused", "4096 tokens"),
        ((403, _BROKEN), 500, "model_refused", "(403)"),
        ((302, _BROKEN), 500, "model_refused", "(302)"),
        ((200, {"choices": "?"}), 500, "model_failed", Unanswered.UNREADABLE.words),
        ((200, completion("", "content_filter")), 500, "model_refused", Unanswered.MODERATED.words),
        ((200, completion("", "length")), 500, "model_refused", "raise max_tokens"),
        ((404, {"error": {"message": "no such model"}}), 404, "not_found", "no such model"),
        ((429, {"error": {"message": "slow"}}), 429, "too_many_requests", "slow"),
        ((500, _BROKEN), 500, "model_failed", "in 1 attempt "),
        ((200, completion("")), 500, "model_failed", Unanswered.EMPTY.words),
    ],
)
def test_a_model_s_error_is_named_without_the_operator_s_secrets(
    running: Running,
    models: Models,
    caplog: pytest.LogCaptureFixture,
    reply: tuple[int, Any],
    status: int,
    name: str,
    message: str,
) -> None:
    models.reply = reply

    with running.client() as client:
        answer = client.post(SINGLE, json=evaluation())
        generated = client.get("/monthly_quota").json()["generated_tests"]

    assert answer.status_code == status
    assert status == 429 or contract().answer_problems("POST", SINGLE, status, answer.json()) == []
    detail = answer.json()["detail"]
    assert detail["error"] == name
    assert message in detail["message"]
    assert MODEL in detail["message"]
    assert generated == 0
    # Neither the endpoint's address nor its messages about keys and crashes.
    assert "127.0.0.1" not in answer.text
    assert KEY_PART not in answer.text
    [line] = [record for record in caplog.records if record.message == "an evaluation failed"]
    logged = vars(line)
    assert logged["model"] == MODEL
    assert "127.0.0.1" in logged["error"]
    assert name in (logged["cause"], "not_found", "too_many_requests")
    assert KEY_PART not in str(logged)


@pytest.mark.parametrize(("endpoint_s", "caller_s"), [(None, 10), (3.0, 10), (119.2, 120)])
def test_the_longer_retry_after_of_endpoint_and_service_is_sent_to_the_caller(
    endpoint_s: float | None, caller_s: int
) -> None:
    failure = EvaluationFailure(
        error=RateLimited("slow down", status=429, retry_after_s=endpoint_s),
        model=MODEL,
        is_from_target=True,
        is_callers=False,
        attempts=1,
    )

    assert failure.api_error(retry_after_s=10).retry_after_s == caller_s


def test_an_unreachable_endpoint_is_reported_by_the_model_s_name_only(tmp_path: Path) -> None:
    models = {MODEL: {"endpoint": {"base_url": "http://127.0.0.1:9/v1"}}}
    with service(tmp_path, models=models, limits=_ONCE) as running, running.client() as client:
        answer = client.post(SINGLE, json=evaluation())

    assert (answer.status_code, answer.json()["detail"]["error"]) == (500, "model_failed")
    assert "127.0.0.1" not in answer.text


def test_a_judge_s_error_is_neither_the_caller_s_nor_the_model_s(
    models: Models, running: Running, tmp_path: Path
) -> None:
    endpoint = {"base_url": running.models.base_url}
    judge = {"kind": "rubric", "model": "judge", "endpoint": endpoint}
    models.reply = (200, completion("I'm sorry that it is so hard."))
    own: dict[str, Any] = {"models": {MODEL: {"endpoint": endpoint}}, "openai": endpoint}
    with (
        service(tmp_path, judge=judge, limits=_ONCE, **own) as judged,
        judged.client(**{"openai-api-key": "sk-of-the-caller"}) as client,
    ):
        answers = []
        for status in (401, 402, 404):
            models.judge_reply = (status, _REFUSED)
            answers.append(client.post(SINGLE, json=evaluation()))
            answers.append(client.post(FINETUNE, json=finetune_body()))

    for answer in answers:
        assert answer.status_code == 500
        assert "a judge or attacker model" in answer.json()["detail"]["message"]
        assert "openai-api-key" not in answer.text
        assert KEY_PART not in answer.text


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        ((401, {"error": {"message": "Incorrect API key"}}), 401, "openai-api-key"),
        ((402, {"error": {"message": "Top up"}}), 403, "Top up"),
        ((404, {"error": {"message": "no such model"}}), 404, "no such model"),
        ((400, {"error": {"message": "too long"}}), 500, "too long"),
    ],
)
def test_openai_s_messages_about_the_caller_s_key_reach_the_caller(
    running: Running, models: Models, reply: tuple[int, Any], status: int, message: str
) -> None:
    models.reply = reply

    with running.client(**{"openai-api-key": "sk-of-the-caller"}) as client:
        answer = client.post(FINETUNE, json=finetune_body())

    assert answer.status_code == status
    assert message in answer.json()["detail"]["message"]
    assert contract().answer_problems("POST", FINETUNE, status, answer.json()) == []
    assert "sk-of-the-caller" not in answer.text


@pytest.mark.parametrize("key", ["ké", "\xff", "a\tb"])
def test_an_impossible_key_is_refused_without_a_request_to_openai(
    running: Running, key: str
) -> None:
    before = len(running.models.asked)

    with running.client() as client:
        headers = [(b"openai-api-key", key.encode("latin-1"))]
        answer = client.post(FINETUNE, json=finetune_body(), headers=headers)

    assert answer.status_code == 401
    assert "openai-api-key" in answer.json()["detail"]["message"]
    assert len(running.models.asked) == before
