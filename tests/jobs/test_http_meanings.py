"""What providers' errors mean, with any status, and how long they ask to wait."""

import json
from collections.abc import Sequence

import pytest

from engine.kinds import JobError, OutOfCredit, Permanent, RateLimited, Transient
from jobs.chat.reading import read_reply
from jobs.http import Meaning, Redactor, error_from_response, rule
from jobs.http.explanations import explain
from jobs.http.meanings import meaning_of
from tests.jobs.provider_answers import ANSWERS, NOW, SPENT, ProviderAnswer, error


def numbered(answers: Sequence[ProviderAnswer]) -> list[str]:
    return [f"{number}-{given}" for number, given in enumerate(answers)]


def became(given: ProviderAnswer) -> JobError:
    body = given.body if isinstance(given.body, bytes) else json.dumps(given.body).encode()
    if given.status != 200:
        return error_from_response(
            "POST x", given.status, given.headers, body, now=NOW, redact=Redactor()
        )
    with pytest.raises(JobError) as caught:
        read_reply(body, where="POST x", headers=given.headers, now=NOW)
    return caught.value


@pytest.mark.parametrize("given", ANSWERS, ids=numbered(ANSWERS))
def test_an_answer_means_what_its_provider_says(given: ProviderAnswer) -> None:
    found = became(given)

    assert type(found) is given.becomes
    if given.reason is not None:
        assert found.reason == given.reason
    if isinstance(found, RateLimited | Transient):
        assert found.retry_after_s == pytest.approx(given.wait_s)


@pytest.mark.parametrize("given", SPENT, ids=numbered(SPENT))
def test_an_empty_account_is_reported_with_the_provider_s_message(given: ProviderAnswer) -> None:
    found = became(given)

    assert isinstance(found, OutOfCredit)
    assert found.detail in json.dumps(given.body, ensure_ascii=False)
    assert "month" not in found.message


@pytest.mark.parametrize("status", [400, 403, 409, 429, 498, 500, 503])
@pytest.mark.parametrize("name", ["rate_limit_exceeded", "Throttling.User", "TooManyRequests"])
def test_a_rate_limit_is_known_by_its_name_under_any_status(status: int, name: str) -> None:
    body = json.dumps(error("no", code=name)).encode()

    found = error_from_response("POST x", status, {}, body, now=NOW, redact=Redactor())

    assert type(found) is RateLimited
    assert found.status == status


@pytest.mark.parametrize(
    "message",
    [
        "the moderation service is being deployed",
        "unknown field content_filter",
        "your account has no access to flagged models",
        "set a credit limit first",
    ],
)
def test_a_word_inside_another_message_decides_nothing(message: str) -> None:
    body = json.dumps(error(message, code="invalid_value")).encode()

    found = error_from_response("POST x", 400, {}, body, now=NOW, redact=Redactor())

    assert (type(found), found.reason) == (Permanent, None)


def test_a_quoted_request_is_not_mistaken_for_the_provider_s_message() -> None:
    message = "messages.0.content: not a list; it was " + "x" * 300 + " I am out of credits"
    body = json.dumps(error(message)).encode()

    assert (
        type(error_from_response("POST x", 400, {}, body, now=NOW, redact=Redactor())) is Permanent
    )


def test_a_model_s_text_is_not_mistaken_for_the_name_of_an_error() -> None:
    choice = {"message": None, "text": '{"code": "insufficient_quota"}'}
    body = json.dumps({"choices": [choice]}).encode()

    with pytest.raises(JobError) as caught:
        read_reply(body, where="POST x")

    assert type(caught.value) is Transient


def test_a_provider_s_error_is_found_in_the_text_of_a_proxy_s() -> None:
    inner = json.dumps(error("slow", code=429, status="RESOURCE_EXHAUSTED", retryDelay="7s"))
    body = json.dumps(error(inner, code=400)).encode()

    found = error_from_response("POST x", 400, {}, body, now=NOW, redact=Redactor())

    assert isinstance(found, RateLimited)
    assert found.retry_after_s == 7.0


def test_a_service_s_own_rules_come_first() -> None:
    explained = explain(json.dumps(error("no", code="rate_limit_exceeded")).encode(), Redactor())
    own = (rule(Meaning.REFUSED, "rate_limit_exceeded", statuses=(429,)),)

    assert meaning_of(429, explained) is Meaning.THROTTLED
    assert meaning_of(429, explained, own) is Meaning.REFUSED
    assert meaning_of(503, explained, own) is Meaning.THROTTLED


@pytest.mark.parametrize("depth", [5, 500, 5000])
def test_an_error_of_any_depth_is_read_in_time(depth: int) -> None:
    body = b'{"error":' * depth + b'"no"' + b"}" * depth

    assert (
        type(error_from_response("POST x", 400, {}, body, now=NOW, redact=Redactor())) is Permanent
    )
