"""The tables. The database repeats the invariants of the states as CHECKs.

All times are seconds since the Unix epoch. A run's totals are those of `job` and `result`; triggers keep the counts
that would take long to derive from them.
"""

from engine.store.schema import triggers
from engine.store.schema.counts import answer_count, cell_count, error_count, job_count
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

HEAD = "0027"
"""The newest revision in alembic/versions: what this version of the code reads and writes."""

__all__ = [
    "HEAD",
    "answer",
    "answer_count",
    "attempt",
    "call",
    "call_without_reply",
    "cell_count",
    "cost",
    "document",
    "error_count",
    "event",
    "job",
    "job_count",
    "lane",
    "metadata",
    "quota",
    "rate_bucket",
    "reservation",
    "result",
    "run",
    "settled",
    "store_value",
    "triggers",
    "unread",
    "worker",
]
