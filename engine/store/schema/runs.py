"""The tables of runs: their sweeps, documents, lanes and events."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
)

from engine.core.runs import RunState
from engine.store.schema.metadata import Integer, metadata, one_of

run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("service", Text, nullable=False),
    Column("evaluation", Text, nullable=False),
    Column("target", Text, nullable=False),
    # What the answers depend on besides the jobs' parameters, such as the service's base URL.
    Column("identity", Text, nullable=False),
    Column("sweep", Text, nullable=False),
    Column("digest", Text, nullable=False),
    # The digest of the sweep whose whole matrix is in `job`; differs from `digest` until expansion ends.
    Column("expanded", Text),
    Column("generation", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("message", Text, nullable=False, server_default=""),
    Column("resume_at", Float),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    # What determines the answers, by name: a JSON object; null in runs of versions that did not record it.
    Column("provenance", Text),
    # Set when everything is asked again: only answers and replies from this time on count, and jobs of
    # earlier generations are requeued when the expansion reaches them.
    Column("fresh_at", Float),
    Column("fresh_generation", Integer),
    # The account whose rates and quota it used last: the service's address and a keyed hash of the key.
    Column("account", Text),
    # The last matrix that was completely in `job`, as JSON: its values with their ranks, and its generation.
    Column("layout", Text),
    # Which jobs are being put back into the queue, and by which worker: JSON; null once all of them are.
    Column("requeueing", Text),
    # The fields of the axes by which its cells are counted, a JSON list; set when it is created.
    Column("grouped", Text, nullable=False, server_default="[]"),
    CheckConstraint(one_of("state", RunState), name="state"),
)

document = Table(
    "document",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("content", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Why a lane of a run waits in each worker, as that worker last reported it to the other processes.
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
