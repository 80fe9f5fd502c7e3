"""What an answer other than 2xx means, decided once for every service.

3xx        Permanent: redirects are not followed, a key must not travel
401        Unauthorized
403        the service decides: only it knows whether a quota is used up
408, 425   Transient
429        RateLimited
other 4xx  Permanent
5xx        Transient
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from engine.job import JobError, Permanent, RateLimited, Transient, Unauthorized
from jobs.http.text import Redactor, plain, read_json

LONGEST_RETRY_AFTER_S = 3600.0
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")
_PARTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An error body as its service meant it.

    `code` is the machine-readable name if there is one (`quota_exceeded`), `text` one printable line.
    `structured` tells an error object of the service from a proxy's page or a bare sentence.
    """

    code: str = ""
    text: str = ""
    structured: bool = False


Forbidden = Callable[[str, Explanation], JobError]
"""Takes what was asked and the explanation of a 403; returns the error that it is."""


def forbidden(where: str, explanation: Explanation) -> JobError:
    """A 403 of a service that has no quota: the answer is no, and stays no."""
    return Permanent(
        f"{where}: the service refuses this (403)", detail=explanation.text, status=403
    )


def retry_after_s(value: str | None, now: float) -> float | None:
    """The seconds to wait that a Retry-After header asks for, in 0..3600.

    It holds seconds or an HTTP date, compared with `now`; a date in the past gives 0. None if there
    is no header or it makes no sense.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value)
        # A date without a zone is in UTC: RFC 9110 knows no other.
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(at - now, 0.0), LONGEST_RETRY_AFTER_S)


def explain(body: bytes, redact: Redactor) -> Explanation:
    """What an error body says, whatever its shape: FastAPI's, OpenAI's, plain text, HTML."""
    try:
        document = read_json(body, "")
    except JobError:
        return Explanation(text=plain(body.decode("utf-8", "replace"), redact))
    code, text = _told(document)
    structured = isinstance(document, dict) and isinstance(document.get("detail"), dict)
    return Explanation(
        code=plain(code, redact, 60), text=plain(text, redact), structured=structured
    )


def _told(document: Any) -> tuple[str, str]:
    match document:
        case {"detail": detail}:
            return _told(detail)
        case {"error": Mapping() as error}:
            return _told(error)
        case {"message": str(text), **rest} | {"msg": str(text), **rest}:
            code = next((rest[name] for name in ("error", "code", "type") if name in rest), "")
            return (code if isinstance(code, str) else ""), _located(rest.get("loc"), text)
        case {"error": str(text)}:
            return text, text
        case list():
            return "", "; ".join(_told(part)[1] for part in document[:_PARTS])
        case str():
            return "", document
        case None:
            return "", ""
    return "", json.dumps(document)


def _located(location: Any, text: str) -> str:
    if not isinstance(location, list) or not location:
        return text
    return f"{'.'.join(str(part) for part in location[:_PARTS])}: {text}"


def refused(
    where: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    redact: Redactor,
    on_forbidden: Forbidden = forbidden,
) -> JobError:
    """The error that an answer other than 2xx stands for; `where` names what was asked."""
    if 300 <= status < 400:
        return _redirected(where, status, headers, redact)
    explanation = explain(body, redact)
    detail = explanation.text
    wait_s = retry_after_s(headers.get("retry-after"), now)
    answered = f"{where}: answered {_named(status)}"
    if status == 401:
        return Unauthorized(
            f"{where}: the key was refused (401); set a valid one and resume",
            detail=detail,
            status=status,
        )
    if status == 403:
        return on_forbidden(where, explanation)
    if status == 429:
        return RateLimited(answered, detail=detail, status=status, retry_after_s=wait_s)
    if status in (408, 425) or status >= 500:
        return Transient(answered, detail=detail, status=status, retry_after_s=wait_s)
    return Permanent(answered, detail=detail, status=status)


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
        f"{where}: answered {_named(status)}, a redirect, which is not followed because a key must"
        " not travel; set base_url to the final address",
        detail=plain(f"redirect to {host}", redact),
        status=status,
    )


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
