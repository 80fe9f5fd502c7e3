"""The tables of workers, and of values that hold for the whole store."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Table,
    Text,
    text,
)

from engine.store.schema.metadata import Integer, metadata

worker = Table(
    "worker",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("ended_at", Float),
    # Whether attempts refer to it; if so, its row is kept after it has ended.
    Column("has_sent", Boolean, nullable=False, server_default="0"),
)
# There may be half a million ended workers: with these indexes, queries that run every second skip them.
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

# Values of the store as a whole: the salt of its accounts and its clock.
store_value = Table(
    "store_value",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)
