"""How long an answer asks to wait, in every place and format."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kinds import RateLimited, Transient
from jobs.http import Redactor, error_from_response
from jobs.http.explanations import explain
from jobs.http.waits import find_wait_s, seconds_of
from tests.jobs.provider_answers import NOW


def asked(
    headers: dict[str, str] | None = None, body: Any = None, *, throttled: bool = True
) -> float | None:
    explained = explain(json.dumps(body).encode(), Redactor())
    return find_wait_s(headers or {}, explained, NOW, throttled=throttled)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("2.5", 2.5),
        (" 30 ", 30.0),
        ("3s", 3.0),
        ("120ms", 0.12),
        ("1m30s", 90.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("1 minute 30 seconds", 90.0),
        ("1800000003", 3.0),
        ("1800000003.5", 3.5),
        ("1800000003000", 3.0),
        ("1700000000", 0.0),
        ("2027-01-15T08:00:03Z", 3.0),
        ("2027-01-15T09:00:03+01:00", 3.0),
        ("2027-01-15T08:00:03.250", 3.25),
        ("Fri, 15 Jan 2027 08:01:30 GMT", 90.0),
        ("Fri, 15 Jan 2027 08:01:30", 90.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("3 steps", None),
        ("Fri, 99 Foo 2027 07:00:00 GMT", None),
    ],
)
def test_a_wait_is_seconds_a_duration_or_a_time(value: str, expected: float | None) -> None:
    assert seconds_of(value, NOW) == pytest.approx(expected)


@pytest.mark.parametrize(
    "value", ["86400", "9" * 5000, "2d", "Fri, 15 Jan 9999 07:00:00 GMT", "9" * 13]
)
def test_a_wait_is_at_most_an_hour(value: str) -> None:
    assert asked({"retry-after": value}) == 3600.0


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-reset-requests": "20s", "x-ratelimit-remaining-requests": "7"},
        {"anthropic-ratelimit-tokens-reset": "20s", "anthropic-ratelimit-tokens-remaining": "1"},
        {"X-RateLimit-Reset": "20s", "X-RateLimit-Remaining": "1"},
    ],
)
def test_a_limit_that_is_not_used_up_asks_for_no_wait(headers: dict[str, str]) -> None:
    assert asked(headers) is None


def test_the_reset_of_a_limit_counts_only_if_the_answer_is_throttled() -> None:
    headers = {"x-ratelimit-reset": "20s", "x-ratelimit-remaining": "0"}

    assert asked(headers) == 20.0
    assert asked(headers, throttled=False) is None


def test_the_longest_wait_counts() -> None:
    headers = {"retry-after": "2", "retry-after-ms": "2500", "ratelimit-reset": "9"}
    body = {"error": {"message": "try again in 12s", "details": [{"retryDelay": "11s"}]}}

    assert asked(headers, body) == 12.0
    assert asked(headers) == 9.0
    assert asked({"retry-after": "2", "retry-after-ms": "2500"}) == 2.5


def test_a_time_in_whole_seconds_may_have_been_rounded_down() -> None:
    assert asked({"x-ratelimit-reset": "1800000003"}) == 4.0
    assert asked({"x-ratelimit-reset": "2027-01-15T08:00:03Z"}) == 4.0
    assert asked({"x-ratelimit-reset": "2027-01-15T08:00:03.000Z"}) == 3.0


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Please try again in 3.2s. Contact us", 3.2),
        ("Please try again in 1m2s.", 62.0),
        ("try again in 120ms", 0.12),
        ("Please retry after 37 seconds.", 37.0),
        ("Please wait 20 seconds before the next request", 20.0),
        ("Try again in 1 minute and 5 seconds", 65.0),
        ("Please try again later", None),
        ("try again in 3 steps", None),
        ("timed out after waiting 600 seconds", None),
    ],
)
def test_a_wait_is_found_in_a_message(message: str, expected: float | None) -> None:
    assert asked(body={"error": {"message": message}}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": "loading", "estimated_time": 57.3}, 57.3),
        ({"error": {"message": "x", "retry_after": 4}}, 4.0),
        ({"error": {"message": "x", "retry_after_ms": 4500}}, 4.5),
        ({"error": {"message": "x", "details": [{"retryDelay": {"seconds": "26"}}]}}, 26.0),
        ({"error": {"message": "x", "metadata": {"quotaResetDelay": "1.5s"}}}, 1.5),
        ({"error": {"message": "x", "retry_after": 10**400}}, 3600.0),
        ({"error": {"message": "x", "retry_after": -1}}, 0.0),
        ({"error": {"message": "x", "retry_after": True}}, None),
        ({"error": {"message": "x", "retry_after": None}}, None),
    ],
)
def test_a_wait_is_found_in_a_body(body: Any, expected: float | None) -> None:
    assert asked(body=body) == pytest.approx(expected)


@pytest.mark.parametrize("status", [408, 409, 424, 425, 429, 498, 499, 500, 503])
def test_a_wait_is_obeyed_wherever_waiting_makes_sense(status: int) -> None:
    error = error_from_response(
        "GET x", status, {"retry-after": "12"}, b"", now=NOW, redact=Redactor()
    )

    assert isinstance(error, Transient | RateLimited)
    assert error.retry_after_s == 12


@given(value=st.text() | st.from_regex(r"[0-9.]+ ?(ms|s|m|h|d|sec)?", fullmatch=True))
def test_any_text_for_a_wait_means_none_or_at_most_an_hour(value: str) -> None:
    wait_s = asked({"retry-after": value, "x-ratelimit-reset": value, "retry-after-ms": value})

    assert wait_s is None or 0 <= wait_s <= 3600
