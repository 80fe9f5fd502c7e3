"""The tables of the service's own database."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 2
"""Stored in PRAGMA user_version; increased with every change of the tables."""

metadata = MetaData()

api_key = Table(
    "api_key",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # SHA-256. A key has 32 random bytes, so a slow hash would add nothing.
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("allotment", Integer, CheckConstraint("allotment >= 0"), nullable=False),
    Column("groups", Text),  # a JSON list of names; null: all
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)

usage = Table(
    "usage",
    metadata,
    Column("key_id", ForeignKey("api_key.id"), primary_key=True),
    Column("period", Text, primary_key=True),  # 2026-11, in UTC
    Column("used", Integer, CheckConstraint("used >= 0"), nullable=False),
    Column("reserved", Integer, CheckConstraint("reserved >= 0"), nullable=False),
)

call = Table(
    "call",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("is_test", Boolean, nullable=False),  # whether it was charged
    Column("recorded_at", Float, nullable=False),
    UniqueConstraint("scope", "digest"),
)
Index("call_by_age", call.c.recorded_at)

rate = Table(
    "rate",
    metadata,
    Column("name", Text, primary_key=True),
    Column("log", Text, nullable=False),
)

# One row. Salts the names of endpoints' accounts in `rate`.
salt = Table(
    "salt",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

evaluation = Table(
    "evaluation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key_id", ForeignKey("api_key.id"), nullable=False),
    Column("evaluation_id", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)
Index("evaluation_by_key", evaluation.c.key_id, evaluation.c.kind, evaluation.c.created_at)
Index("evaluation_by_age", evaluation.c.created_at)

result = Table(
    "result",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("evaluation", ForeignKey("evaluation.id", ondelete="CASCADE"), nullable=False),
    Column("test_result_id", Integer, nullable=False),
    Column("case_id", Text, nullable=False),
    Column("test_case_id", Integer),
    Column("user_input", Text, nullable=False),
    Column("model_response", Text, nullable=False),
    Column("score", Float, CheckConstraint("score between 0 and 1"), nullable=False),
    Column("passed", Boolean, nullable=False),
)
Index("result_by_evaluation", result.c.evaluation)
Index("result_by_id", result.c.test_result_id)
