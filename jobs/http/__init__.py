"""The shared HTTP client: deadlines, byte caps, one mapping of errors, and no leaked keys."""

from jobs.http.client import HttpClient, HttpLimits, Reply
from jobs.http.keys import Key, Sent
from jobs.http.meanings import Meaning, rule
from jobs.http.network import Network, NetworkSettings
from jobs.http.refusals import refused, reported
from jobs.http.text import (
    Redactor,
    keeping_unread,
    note_redacted,
    plain,
    read_as,
    read_json,
    redaction_told,
)
from jobs.http.unanswered import Unanswered
from jobs.http.urls import check_authority, check_host, parse_base_url

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
    "keeping_unread",
    "note_redacted",
    "parse_base_url",
    "plain",
    "read_as",
    "read_json",
    "redaction_told",
    "refused",
    "reported",
    "rule",
]
