"""The store: one SQLite file that holds runs, jobs, attempts, results, rates and quotas.

Only this package speaks SQL. `open_store` opens a store for work, `open_for_reading` for reading only; the rest of
the engine uses it through `Store`.
"""

from engine.store.changes.in_parts import OnProgress
from engine.store.database import LOG_MAX_BYTES
from engine.store.memory import Memory, open_memory_store
from engine.store.opening import is_store_on_server, open_for_reading, open_store
from engine.store.queries.conditions import LabelLike
from engine.store.queries.counted_answers import Answers
from engine.store.queries.counted_cells import CountedCells
from engine.store.queries.holdings import Holding
from engine.store.queries.inspection import JobHistory, KnownJob
from engine.store.queries.job_rows import JobRow
from engine.store.queries.layouts import KeptLayout
from engine.store.queries.runs import (
    ActiveRun,
    NewRun,
    RunFingerprint,
    RunRow,
    refuse_if_deleting,
)
from engine.store.queries.totals import Totals
from engine.store.requests import (
    Blocked,
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
from engine.store.store import Store

__all__ = [
    "LOG_MAX_BYTES",
    "ActiveRun",
    "Answers",
    "Blocked",
    "Bucket",
    "Charge",
    "Claim",
    "Claimed",
    "CountedCells",
    "Holding",
    "JobHistory",
    "JobRow",
    "KeptLayout",
    "KnownJob",
    "LabelLike",
    "LaneClaim",
    "LaneGrant",
    "Memory",
    "NewJob",
    "NewRun",
    "OnProgress",
    "Outcome",
    "QuotaKey",
    "RunFingerprint",
    "RunRow",
    "Store",
    "Totals",
    "is_store_on_server",
    "open_for_reading",
    "open_memory_store",
    "open_store",
    "refuse_if_deleting",
]
