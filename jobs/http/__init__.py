"""The shared HTTP client: deadlines, byte caps, one mapping of errors, and no leaked keys."""

from jobs.http.client import HttpClient, HttpLimits, Reply
from jobs.http.keys import Key, Sent
from jobs.http.refusals import Explanation, refused, retry_after_s
from jobs.http.text import Redactor, note_redacted, plain, read_as, read_json, redaction_told
from jobs.http.unanswered import Unanswered
from jobs.http.urls import parse_base_url

__all__ = [
    "Explanation",
    "HttpClient",
    "HttpLimits",
    "Key",
    "Redactor",
    "Reply",
    "Sent",
    "Unanswered",
    "note_redacted",
    "parse_base_url",
    "plain",
    "read_as",
    "read_json",
    "redaction_told",
    "refused",
    "retry_after_s",
]
