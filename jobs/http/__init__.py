"""The shared HTTP client: deadlines, limits on bodies, one mapping of errors, and no leaked keys."""

from typing import TYPE_CHECKING, Any

from jobs.http.exchange import HttpLimits, Reply
from jobs.http.keys import Key, Sent
from jobs.http.meanings import Meaning, rule
from jobs.http.network import Network, NetworkSettings
from jobs.http.response_errors import error_from_document, error_from_response
from jobs.http.text import (
    Redactor,
    keep_unread_on_error,
    note_redacted,
    plain,
    read_json,
    read_json_as,
    redaction_message,
)
from jobs.http.unanswered import Unanswered
from jobs.http.urls import check_authority, check_host, parse_base_url

if TYPE_CHECKING:
    from jobs.http.client import HttpClient

__all__ = [
    "HttpClient",
    "HttpLimits",
    "Key",
    "Meaning",
    "Network",
    "NetworkSettings",
    "Redactor",
    "Reply",
    "Sent",
    "Unanswered",
    "check_authority",
    "check_host",
    "error_from_document",
    "error_from_response",
    "keep_unread_on_error",
    "note_redacted",
    "parse_base_url",
    "plain",
    "read_json",
    "read_json_as",
    "redaction_message",
    "rule",
]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `nightsweep plan` sends nothing, and the client loads aiohttp.
    if name != "HttpClient":
        raise AttributeError(f"module 'jobs.http' has no attribute {name!r}")
    from jobs.http.client import HttpClient

    return HttpClient
