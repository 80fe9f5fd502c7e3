"""The tables. The database repeats the invariants of the states as CHECKs.

All times are seconds since the Unix epoch. A run's totals are always derived from `job` and `result`; nothing is
counted separately.
"""

from engine.store.schema.jobs import (
    answer,
    attempt,
    call,
    call_without_reply,
    job,
    result,
    settled,
    unread,
)
from engine.store.schema.limits import cost, quota, rate_bucket, reservation
from engine.store.schema.metadata import metadata
from engine.store.schema.runs import document, event, lane, run
from engine.store.schema.workers import store_value, worker

HEAD = "0025"
"""The newest revision in alembic/versions: what this version of the code reads and writes."""

__all__ = [
    "HEAD",
    "answer",
    "attempt",
    "call",
    "call_without_reply",
    "cost",
    "document",
    "event",
    "job",
    "lane",
    "metadata",
    "quota",
    "rate_bucket",
    "reservation",
    "result",
    "run",
    "settled",
    "store_value",
    "unread",
    "worker",
]
