"""The tables of jobs: their attempts, results, answers and the calls within them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from engine.core.states import AttemptOutcome, State
from engine.store.schema.metadata import Integer, metadata, one_of

job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    # The key without the folded threshold: an answer can serve the cells of other jobs of its family.
    Column("family", LargeBinary),
    Column("generation", Integer, nullable=False),
    Column("lane", Text, nullable=False),
    Column("cost_class", Text, nullable=False),
    Column("expected_tests", Integer),
    Column("labels", Text, nullable=False),
    Column("documents", Text, nullable=False),
    Column("repeat", Integer, nullable=False),
    # Its position in the file among the jobs of its repeat; 2**61 is added once the sweep does not ask for it.
    Column("place", Integer, nullable=False, server_default="0"),
    # The threshold that is sent; null if the kind has none.
    Column("threshold", Float),
    # The thresholds that the sweep asks of this job, a JSON list; empty if the kind has none.
    Column("cells", Text, nullable=False),
    # How many cells of the sweep this job answers; 0 once the sweep no longer asks for it.
    Column("cell_count", Integer, nullable=False),
    # The thresholds that earlier versions of the sweep asked of this job, a JSON list.
    Column("past_cells", Text, nullable=False, server_default="[]"),
    Column("state", Text, nullable=False),
    Column("owner", ForeignKey("worker.id")),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Float, nullable=False, server_default="0"),
    Column("error", Text),
    Column("detail", Text),
    # Tests charged when replies of this job were stored, if the kind is charged per reply.
    Column("charged", Integer, nullable=False, server_default="0"),
    UniqueConstraint("key", "run_id"),
    CheckConstraint(one_of("state", State), name="state"),
    CheckConstraint("(state = 'running') = (owner IS NOT NULL)", name="owner"),
    CheckConstraint("attempts >= 0 AND fence >= attempts", name="attempts"),
)
# Claims use this index: of one lane and cost class, the jobs that were never sent, in the order of the file.
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
    # Also used to check the foreign key when a worker is removed.
    sqlite_where=text("owner IS NOT NULL"),
    postgresql_where=text("owner IS NOT NULL"),
)
# Rows are read with this index: in the order of the file, with the repeats of a cell next to each other.
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
    # How far the job was when it last reported that; null if it has not.
    Column("questions_answered", Integer),
    Column("questions", Integer),
    CheckConstraint(one_of("outcome", AttemptOutcome), name="outcome"),
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
    # Safety scores in ascending order, at least those below the job's threshold: a JSON list; null without scores.
    Column("scores", Text),
    Column("note", Text),
    # The job of another run whose answer this is and whose `answer` row has the bytes; the job itself once
    # that run was deleted and its answer was moved here.
    Column("reused_from", ForeignKey("job.id")),
    Column("recorded_at", Float, nullable=False),
    # The digest of what determined this answer: only answers with equal digests are interchangeable.
    Column("provenance", Text),
    # How many questions have no answer, by reason: a JSON object; null if all have one.
    Column("unanswered", Text),
    # Further values from the job kind, by name: a JSON object of numbers, texts and booleans; null if none.
    Column("values", Text),
    # The tests that the answer lists, in lines: see engine.core.listed_tests; null if the job kind gave none.
    Column("listing", Text),
)
# Shows at once that a run has no values.
Index(
    "ix_result_values",
    result.c.run_id,
    sqlite_where=text('"values" IS NOT NULL'),
    postgresql_where=text('"values" IS NOT NULL'),
)
# The answers that other runs reuse; without this index, deleting a job reads the whole table.
Index(
    "ix_result_reused",
    result.c.reused_from,
    sqlite_where=text("reused_from IS NOT NULL"),
    postgresql_where=text("reused_from IS NOT NULL"),
)
Index("ix_result_totals", result.c.run_id, result.c.passed, result.c.failed, result.c.tests)

# A row is added each time a job is answered or fails, in the order of the commits: see queries/commit_order.py. A reader
# that remembers the id of the last row continues behind it, so ids are never reused. `job_id` is no foreign key, which would need an index;
# rows of deleted jobs are skipped.
settled = Table(
    "settled",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("job_id", Integer, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_settled_run", settled.c.run_id, settled.c.id)

answer = Table(
    "answer",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    # The bytes of the answer, compressed with zlib.
    Column("raw", LargeBinary, nullable=False),
)

# Answers that cannot be read; they are kept because they were paid for.
unread = Table(
    "unread",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    # With the job, identifies the attempt.
    Column("fence", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("place", Text, nullable=False),
    # The size of the whole answer in bytes.
    Column("size", Integer, nullable=False),
    # The first 32 MiB of the answer, compressed with zlib.
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
    # The receiver and the usage, as far as the reply reported it.
    Column("role", Text),
    Column("endpoint", Text),
    Column("model", Text),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    # In US dollars, if the provider reports it.
    Column("cost", Float),
    sqlite_with_rowid=False,
)
# Covers the sums over a run's calls, so that the responses are not read.
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

# Calls that were paid for without a stored reply: it was cut off by the token limit, another reply came first,
# or everything was asked again.
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
# With this index, other runs find replies to the same call.
Index("ix_call_digest", call.c.digest)
