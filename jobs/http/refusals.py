"""The error that an answer other than a good one stands for, decided once for every service.

Redirects are Permanent: they are not followed, a key must not travel. For everything else
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
from jobs.http.waits import asked_wait_s


def refused(
    where: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    redact: Redactor,
    rules: tuple[Rule, ...] = (),
) -> JobError:
    """The error that an answer other than 2xx stands for.

    `where` names what was asked; `rules` are those of the service, which come before the common table.
    """
    if 300 <= status < 400:
        return _redirected(where, status, headers, redact)
    said = explain(body, redact)
    if kind := headers.get("x-amzn-errortype"):
        said = said.named(kind.partition(":")[0])
    meaning = meaning_of(status, said, rules)
    wait_s = asked_wait_s(headers, said, now, throttled=meaning is Meaning.THROTTLED)
    answered = f"answered {_named(status)} ({where})"
    return _error(meaning, where, answered, said, status=status, wait_s=wait_s)


def reported(
    where: str,
    document: Any,
    *,
    headers: Mapping[str, str],
    now: float,
    redact: Redactor,
    untold: Unanswered = Unanswered.ERROR,
) -> JobError:
    """The error that stands inside a 200 in the place of an answer.

    `untold` is its reason where the document has no message that is known as one.
    """
    said = explain_document(document, redact)
    meaning = meaning_of(200, said)
    wait_s = asked_wait_s(headers, said, now, throttled=meaning is Meaning.THROTTLED)
    reason = Unanswered.ERROR if said.told else untold
    message = f"{reason.words} ({where})"
    error = _error(meaning, where, message, said, status=said.status, wait_s=wait_s)
    if error.reason is None and isinstance(error, Permanent | Transient):
        error.reason = reason
    return error


def _error(
    meaning: Meaning,
    where: str,
    answered: str,
    said: Explanation,
    *,
    status: int | None,
    wait_s: float | None,
) -> JobError:
    place = where if status is None else f"{status}, {where}"
    detail = said.text
    match meaning:
        case Meaning.THROTTLED:
            return RateLimited(answered, detail=detail, status=status, retry_after_s=wait_s)
        case Meaning.HICCUP:
            return Transient(answered, detail=detail, status=status, retry_after_s=wait_s)
        case Meaning.SPENT:
            message = (
                f"the account has no credit left, or has reached a limit on spending ({place})"
            )
            return OutOfCredit(message, detail=detail, status=status)
        case Meaning.ALLOTMENT:
            message = f"the monthly allotment of tests is used up ({place})"
            exceeded = QuotaExceeded(message, detail=detail, status=status)
            exceeded.needs = _needed(said.document)
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
            return Permanent(answered, detail=detail, status=status)


def _needed(document: Any) -> int:
    """How many tests a request may come to, where its refusal says so; else 0."""
    match document:
        case {"detail": {"needed": int() as needed}} if needed > 0:
            return needed
    return 0


def _redirected(where: str, status: int, headers: Mapping[str, str], redact: Redactor) -> JobError:
    # The host alone: paths and queries of a redirect may carry tokens. Secrets are taken out first:
    # the host's name comes back in lower case.
    try:
        host = (
            urlsplit(redact(headers.get("location", ""))).hostname
            or "another path of the same host"
        )
    except ValueError:
        host = "an address that cannot be read"
    return Permanent(
        f"answered {_named(status)}, a redirect ({where}), which is not followed because a key must"
        " not travel; set base_url to the final address",
        detail=plain(f"redirect to {host}", redact),
        status=status,
    )


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
