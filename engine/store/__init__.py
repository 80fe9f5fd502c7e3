"""The store: one SQLite file that holds runs, jobs, attempts, results, rates and quotas.

The only package that speaks SQL. `open_store` opens it, `open_for_reading` where it is only looked at; `Store` is all that the rest of the engine uses.
"""

from engine.store.queries.holdings import Holding
from engine.store.queries.results import JobRow
from engine.store.queries.runs import KeptLayout, NewRun, RunRow, refuse_if_deleting
from engine.store.queries.totals import Answers, Totals
from engine.store.reader import RunLook
from engine.store.requests import (
    Bucket,
    Charge,
    Claim,
    Claimed,
    LaneClaim,
    LaneGrant,
    NewJob,
    Outcome,
    QuotaKey,
)
from engine.store.sqlite.backup import back_up
from engine.store.sqlite.readers import LOG_MAX_BYTES
from engine.store.store import Store, open_for_reading, open_store

__all__ = [
    "LOG_MAX_BYTES",
    "Answers",
    "Bucket",
    "Charge",
    "Claim",
    "Claimed",
    "Holding",
    "JobRow",
    "KeptLayout",
    "LaneClaim",
    "LaneGrant",
    "NewJob",
    "NewRun",
    "Outcome",
    "QuotaKey",
    "RunLook",
    "RunRow",
    "Store",
    "Totals",
    "back_up",
    "open_for_reading",
    "open_store",
    "refuse_if_deleting",
]
