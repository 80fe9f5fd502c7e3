"""The tables. The database repeats the invariants of the states as CHECKs.

All times are seconds since the Unix epoch. A run's totals are always derived from `job` and
`result`; nothing is counted on the side.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from engine.core.runs import RunState
from engine.core.states import AttemptOutcome, State

HEAD = "0019"
"""The newest revision in alembic/versions: what this version of the code reads and writes."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _one_of(column: str, values: type[State] | type[RunState] | type[AttemptOutcome]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("service", Text, nullable=False),
    Column("evaluation", Text, nullable=False),
    Column("target", Text, nullable=False),
    # What the answers depend on beside the job's parameters, such as the service's base URL.
    Column("identity", Text, nullable=False),
    Column("sweep", Text, nullable=False),
    Column("digest", Text, nullable=False),
    # The digest whose matrix is wholly in `job`; another than `digest` while expansion is unfinished.
    Column("expanded", Text),
    Column("generation", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("message", Text, nullable=False, server_default=""),
    Column("resume_at", Float),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    # What decides the answers, by name: a JSON object; null in a run of a version that did not note it.
    Column("provenance", Text),
    # Where everything was asked again: only answers and replies from this time on count, and jobs of
    # earlier generations are put back in line as the matrix reaches them.
    Column("fresh_at", Float),
    Column("fresh_generation", Integer),
    # Whose rates and quota it used last: the service's address and a keyed hash of the key.
    Column("account", Text),
    # Of the matrix that was wholly in `job` last: its values, where they stand, and the generation; JSON.
    Column("layout", Text),
    CheckConstraint(_one_of("state", RunState), name="state"),
)

document = Table(
    "document",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("content", Text, nullable=False),
    sqlite_with_rowid=False,
)

worker = Table(
    "worker",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("ended_at", Float),
    # Whether attempts tell of it: then its row stays after it has gone.
    Column("has_sent", Boolean, nullable=False, server_default="0"),
)
# There may be half a million that have gone: none of what is asked every second looks at those.
Index(
    "ix_worker_here",
    worker.c.id,
    sqlite_where=text("ended_at IS NULL"),
    postgresql_where=text("ended_at IS NULL"),
)
Index(
    "ix_worker_idle",
    worker.c.ended_at,
    sqlite_where=text("ended_at IS NOT NULL AND NOT has_sent"),
    postgresql_where=text("ended_at IS NOT NULL AND NOT has_sent"),
)
Index("ix_worker_started", worker.c.started_at)

job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    # The key without the folded threshold: answers of one family can serve each other's cells.
    Column("family", LargeBinary),
    Column("generation", Integer, nullable=False),
    Column("lane", Text, nullable=False),
    Column("cost_class", Text, nullable=False),
    Column("expected_tests", Integer),
    Column("labels", Text, nullable=False),
    Column("documents", Text, nullable=False),
    Column("repeat", Integer, nullable=False),
    # Where the file has it among the jobs of one repeat; with 2**61 more once the sweep does not ask for it.
    Column("place", Integer, nullable=False, server_default="0"),
    # The threshold that is sent; null where the kind has none.
    Column("threshold", Float),
    # The thresholds that the sweep asks of this job, a JSON list; empty where the kind has none.
    Column("cells", Text, nullable=False),
    # How many cells of the sweep this job answers; 0 once the sweep does not ask for it any more.
    Column("cell_count", Integer, nullable=False),
    # The thresholds that were once asked of this job and are no longer, a JSON list.
    Column("past_cells", Text, nullable=False, server_default="[]"),
    Column("state", Text, nullable=False),
    Column("owner", ForeignKey("worker.id")),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Float, nullable=False, server_default="0"),
    Column("error", Text),
    Column("detail", Text),
    # Tests that were charged as replies of this job were kept, where the kind is charged so.
    Column("charged", Integer, nullable=False, server_default="0"),
    UniqueConstraint("key", "run_id"),
    CheckConstraint(_one_of("state", State), name="state"),
    CheckConstraint("(state = 'running') = (owner IS NOT NULL)", name="owner"),
    CheckConstraint("attempts >= 0 AND fence >= attempts", name="attempts"),
)

# Claims walk this index: one lane, one cost class, what was never sent in the order of the file.
Index(
    "ix_job_claimable",
    job.c.run_id,
    job.c.lane,
    job.c.cost_class,
    job.c.due_at,
    job.c.repeat,
    job.c.place,
    sqlite_where=text("state IN ('pending', 'waiting')"),
    postgresql_where=text("state IN ('pending', 'waiting')"),
)
Index(
    "ix_job_running",
    job.c.owner,
    job.c.run_id,
    # By this one, the foreign key is checked as well when a worker is removed.
    sqlite_where=text("owner IS NOT NULL"),
    postgresql_where=text("owner IS NOT NULL"),
)
# Rows are read along this index: in the order of the file, the repeats of a cell beside each other.
Index("ix_job_place", job.c.run_id, job.c.place, job.c.repeat)
Index("ix_job_state", job.c.run_id, job.c.state, job.c.lane, job.c.cell_count)
Index(
    "ix_job_family",
    job.c.run_id,
    job.c.family,
    sqlite_where=text("family IS NOT NULL"),
    postgresql_where=text("family IS NOT NULL"),
)

attempt = Table(
    "attempt",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("worker", Text, nullable=False),
    Column("sent_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("outcome", Text, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("detail", Text),
    CheckConstraint(_one_of("outcome", AttemptOutcome), name="outcome"),
    CheckConstraint("(outcome = 'sent') = (ended_at IS NULL)", name="ended"),
    sqlite_with_rowid=False,
)
Index("ix_attempt_sent", attempt.c.run_id, attempt.c.sent_at)

result = Table(
    "result",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("passed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("tests", Integer, nullable=False),
    # Ascending safety scores below the job's threshold at least, a JSON list; null without scores.
    Column("scores", Text),
    Column("note", Text),
    # The job, of another run, whose answer this is; its raw bytes are found there. The job itself once
    # that run was deleted and its answer handed over.
    Column("reused_from", ForeignKey("job.id")),
    Column("recorded_at", Float, nullable=False),
    # The digest of what decided this answer: only answers of equal ones can be told as one another's.
    Column("provenance", Text),
    # How many questions have no answer, by reason: a JSON object; null where all have one.
    Column("unanswered", Text),
    # What else the job kind told, by name: a JSON object of numbers, texts and booleans; null without.
    Column("values", Text),
)
# By this one, a run without values is known to have none.
Index(
    "ix_result_values",
    result.c.run_id,
    sqlite_where=text('"values" IS NOT NULL'),
    postgresql_where=text('"values" IS NOT NULL'),
)
# Whose answers other runs have taken over; without it, deleting a job reads the whole table.
Index(
    "ix_result_reused",
    result.c.reused_from,
    sqlite_where=text("reused_from IS NOT NULL"),
    postgresql_where=text("reused_from IS NOT NULL"),
)
Index("ix_result_totals", result.c.run_id, result.c.passed, result.c.failed, result.c.tests)

answer = Table(
    "answer",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    # zlib-compressed bytes of the answer, whole.
    Column("raw", LargeBinary, nullable=False),
)

# Answers that came and cannot be read: they were paid for.
unread = Table(
    "unread",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    # With the job, the attempt that it came to.
    Column("fence", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("place", Text, nullable=False),
    # Of the whole answer, in bytes.
    Column("size", Integer, nullable=False),
    # zlib-compressed bytes of its beginning, mostly of all of it.
    Column("raw", LargeBinary, nullable=False),
)
Index("ix_unread_job", unread.c.job_id)
Index("ix_unread_run", unread.c.run_id)

call = Table(
    "call",
    metadata,
    Column("run_id", ForeignKey("run.id"), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("response", LargeBinary, nullable=False),
    Column("recorded_at", Float, nullable=False),
    # Whom it went to and what it took, as far as that was told.
    Column("role", Text),
    Column("endpoint", Text),
    Column("model", Text),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    # In US dollars, where the provider tells it.
    Column("cost", Float),
    sqlite_with_rowid=False,
)

# All that is added up of a run's calls, without a look at the responses between.
Index(
    "ix_call_usage",
    call.c.run_id,
    call.c.role,
    call.c.endpoint,
    call.c.model,
    call.c.input_tokens,
    call.c.output_tokens,
    call.c.cost,
)

# Calls that were paid for and whose reply is not kept: the token limit cut it off, another came first, or
# everything was asked again.
call_without_reply = Table(
    "call_without_reply",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cost", Float),
    Column("recorded_at", Float, nullable=False),
)
Index("ix_call_without_reply_run", call_without_reply.c.run_id)

# Other runs find here what was asked before.
Index("ix_call_digest", call.c.digest)

rate_bucket = Table(
    "rate_bucket",
    metadata,
    Column("name", Text, primary_key=True),
    Column("log", Text, nullable=False, server_default="[]"),
    Column("blocked_until", Float, nullable=False, server_default="0"),
    # The limits that each run in a worker was given, a JSON object: the lowest hold for all.
    Column("given", Text, nullable=False, server_default="{}"),
)

# What holds for the store as a whole: the salt of its accounts, its clock.
store_value = Table(
    "store_value",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

quota = Table(
    "quota",
    metadata,
    Column("name", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    # 2**62 until the service has told it.
    Column("allotted", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    # What answers cost beyond all that was allotted: known only once they came.
    Column("overrun", Integer, nullable=False, server_default="0"),
    # All that requests came to so far: what is told of the service's own figure between two looks.
    Column("settled", Integer, nullable=False, server_default="0"),
    # The part of `used` that was held for requests without an answer, until the service tells its figure.
    Column("unconfirmed", Integer, nullable=False, server_default="0"),
    CheckConstraint("used >= 0 AND reserved >= 0 AND overrun >= 0", name="positive"),
    CheckConstraint("used + reserved <= allotted", name="kept"),
)

# What is held in `quota.reserved`, request by request, until its cost is known.
reservation = Table(
    "reservation",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    # What is in flight as a month turns is held in both, until the service tells which it billed.
    Column("period", Text, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("worker", Text, nullable=False),
    # The cost class whose first answer everyone waits for.
    Column("probe_of", Text),
    Column("counts_requests", Boolean, nullable=False),
    Column("held", Integer, nullable=False),
    # Whether tests leave `held` as their replies are kept: then what is left of it was never asked.
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
    # How many answers told so.
    Column("answers", Integer, nullable=False, server_default="1"),
    # The most that any answer of the class may come to; null where no answer tells.
    Column("bound", Integer),
)

# What a lane of a run waits for in each worker that is there, as it last said: for other processes.
lane = Table(
    "lane",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("worker", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("until", Float),
    Column("detail", Text, nullable=False, server_default=""),
    Column("breaker", Text, nullable=False),
    Column("in_flight", Integer, nullable=False),
    Column("changed_at", Float, nullable=False),
    UniqueConstraint("run_id", "worker", "name"),
)
Index("ix_lane_worker", lane.c.worker)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id")),
    Column("at", Float, nullable=False),
    Column("kind", Text, nullable=False),
    Column("lane", Text),
    Column("message", Text, nullable=False),
)
Index("ix_event_run", event.c.run_id, event.c.id)
