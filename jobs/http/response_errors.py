"""The JobError for an answer that is an error, decided in one place for every service.

Redirects are Permanent: following one could send the key to another host. For all others,
`jobs.http.meanings` has the table of what errors mean, and `jobs.http.waits` finds how long to wait.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from engine.kinds import (
    JobError,
    OutOfCredit,
    Permanent,
    QuotaExceeded,
    RateLimited,
    Transient,
    Unauthorized,
)
from jobs.http.explanations import Explanation, explain, explain_document
from jobs.http.meanings import Meaning, Rule, meaning_of
from jobs.http.text import Redactor, plain
from jobs.http.unanswered import Unanswered
from jobs.http.waits import find_wait_s


def error_from_response(
    where: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    redact: Redactor,
    rules: tuple[Rule, ...] = (),
) -> JobError:
    """The error for an answer other than 2xx.

    `where` names the request in messages; `rules` are the service's own, which come before the common
    table. `now` is the time from which waits are counted.
    """
    if 300 <= status < 400:
        return _redirect_error(where, status, headers, redact)
    explanation = explain(body, redact)
    if kind := headers.get("x-amzn-errortype"):
        explanation = explanation.with_name(kind.partition(":")[0])
    meaning = meaning_of(status, explanation, rules)
    wait_s = find_wait_s(headers, explanation, now, throttled=meaning is Meaning.THROTTLED)
    message = f"answered {_status_text(status)} ({where})"
    return _error(meaning, where, message, explanation, status=status, wait_s=wait_s)


def error_from_document(
    where: str,
    document: Any,
    *,
    headers: Mapping[str, str],
    now: float,
    redact: Redactor,
    default_reason: Unanswered = Unanswered.ERROR,
) -> JobError:
    """The error for a document inside a 200 that is an error in place of an answer.

    `default_reason` is its reason if the document has no known message.
    """
    explanation = explain_document(document, redact)
    meaning = meaning_of(200, explanation)
    wait_s = find_wait_s(headers, explanation, now, throttled=meaning is Meaning.THROTTLED)
    reason = Unanswered.ERROR if explanation.has_message else default_reason
    message = f"{reason.words} ({where})"
    error = _error(meaning, where, message, explanation, status=explanation.status, wait_s=wait_s)
    if error.reason is None and isinstance(error, Permanent | Transient):
        error.reason = reason
    return error


def _error(
    meaning: Meaning,
    where: str,
    default_message: str,
    explanation: Explanation,
    *,
    status: int | None,
    wait_s: float | None,
) -> JobError:
    place = where if status is None else f"{status}, {where}"
    detail = explanation.text
    match meaning:
        case Meaning.THROTTLED:
            return RateLimited(default_message, detail=detail, status=status, retry_after_s=wait_s)
        case Meaning.HICCUP:
            return Transient(default_message, detail=detail, status=status, retry_after_s=wait_s)
        case Meaning.SPENT:
            message = (
                f"the account has no credit left, or has reached a limit on spending ({place})"
            )
            return OutOfCredit(message, detail=detail, status=status)
        case Meaning.ALLOTMENT:
            message = f"the monthly allotment of tests is used up ({place})"
            exceeded = QuotaExceeded(message, detail=detail, status=status)
            exceeded.needs = _tests_needed(explanation.document)
            return exceeded
        case Meaning.KEY_REFUSED:
            message = f"the key was refused ({place}); set a valid one and resume"
            return Unauthorized(message, detail=detail, status=status)
        case Meaning.MODERATED:
            message = f"{Unanswered.MODERATED.words} ({where})"
            reason = Unanswered.MODERATED
            return Permanent(message, detail=detail, status=status, reason=reason)
        case Meaning.REFUSED if status == 403:
            message = f"the service refuses this ({place})"
            return Permanent(message, detail=detail, status=status)
        case Meaning.REFUSED:
            return Permanent(default_message, detail=detail, status=status)


def _tests_needed(document: Any) -> int:
    """The number of tests that a request may need, if its refusal says so; else 0."""
    match document:
        case {"detail": {"needed": int() as needed}} if needed > 0:
            return needed
    return 0


def _redirect_error(
    where: str, status: int, headers: Mapping[str, str], redact: Redactor
) -> JobError:
    # Only the host, because paths and queries may contain tokens. Secrets are removed before the host is
    # parsed, which turns it into lower case.
    try:
        host = (
            urlsplit(redact(headers.get("location", ""))).hostname
            or "another path of the same host"
        )
    except ValueError:
        host = "an address that cannot be read"
    return Permanent(
        f"answered {_status_text(status)}, a redirect ({where}), which is not followed because a key must"
        " not travel; set base_url to the final address",
        detail=plain(f"redirect to {host}", redact),
        status=status,
    )


def _status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
