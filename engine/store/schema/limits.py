"""The tables of limits that workers share: rates, quotas and costs."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Table,
    Text,
)

from engine.store.schema.metadata import Integer, metadata

rate_bucket = Table(
    "rate_bucket",
    metadata,
    Column("name", Text, primary_key=True),
    Column("log", Text, nullable=False, server_default="[]"),
    Column("blocked_until", Float, nullable=False, server_default="0"),
    # The limits of each run in a worker, a JSON object; the lowest apply to all.
    Column("given", Text, nullable=False, server_default="{}"),
    # Whether the service named the time of `blocked_until`, and it is not our own wait after a refusal.
    Column("has_retry_after", Boolean, nullable=False, server_default="1"),
)

quota = Table(
    "quota",
    metadata,
    Column("name", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    # 2**62 until the service has reported it.
    Column("allotted", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    # What answers cost beyond the allotment; known only once they arrived.
    Column("overrun", Integer, nullable=False, server_default="0"),
    # What requests have cost so far, to tell what was added since the service was last asked.
    Column("settled", Integer, nullable=False, server_default="0"),
    # The part of `used` that was held for requests without an answer, until the service reports its figure.
    Column("unconfirmed", Integer, nullable=False, server_default="0"),
    CheckConstraint("used >= 0 AND reserved >= 0 AND overrun >= 0", name="positive"),
    CheckConstraint("used + reserved <= allotted", name="kept"),
)

# The parts of `quota.reserved`: what is held for each request until its cost is known.
reservation = Table(
    "reservation",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    # Requests in flight at the turn of a month are held in both months until the service reports which it billed.
    Column("period", Text, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("worker", Text, nullable=False),
    # The cost class whose other jobs wait for the answer to this request.
    Column("probe_of", Text),
    Column("counts_requests", Boolean, nullable=False),
    Column("held", Integer, nullable=False),
    # Whether tests are subtracted from `held` when their replies are stored; the rest was never asked.
    Column("by_reply", Boolean, nullable=False, server_default="0"),
    ForeignKeyConstraint(
        ["name", "period"], ["quota.name", "quota.period"], name="fk_reservation_quota"
    ),
    sqlite_with_rowid=False,
)

cost = Table(
    "cost",
    metadata,
    Column("service", Text, primary_key=True),
    Column("cost_class", Text, primary_key=True),
    # The most that one answer of the class has cost so far.
    Column("tests", Integer, nullable=False),
    # How many answers that is based on.
    Column("answers", Integer, nullable=False, server_default="1"),
    # The most that any answer of the class can cost; null if no answer has shown it.
    Column("bound", Integer),
)
