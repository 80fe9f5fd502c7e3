"""The tables of kept counts: what `status` and `runs` would otherwise count by reading every job.

Triggers change them in the statement that changes the jobs and results, so they are exact whatever changes those.
"""

from sqlalchemy import Column, Float, ForeignKey, Index, Table, Text

from engine.store.schema.metadata import Integer, metadata

NO_THRESHOLD = -1e300
"""What stands for the threshold of jobs that have none: the columns of a unique index must not be null."""

# A row counts jobs that are alike. On PostgreSQL several rows may count the same kind of jobs, so that writers do not
# wait for each other's rows; their sum counts. A row may be down to zero.
job_count = Table(
    "job_count",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("lane", Text, nullable=False),
    Column("cost_class", Text, nullable=False),
    Column("state", Text, nullable=False),
    # 1 if the sweep asks for them.
    Column("asked", Integer, nullable=False),
    Column("jobs", Integer, nullable=False),
    Column("cells", Integer, nullable=False),
    Column("past_cells", Integer, nullable=False),
    # How many of them are open and were given a time before which they are not sent.
    Column("dated", Integer, nullable=False),
)
JOB_KEY = ("run_id", "lane", "cost_class", "state", "asked")
JOB_SUMS = ("jobs", "cells", "past_cells", "dated")

# Answers of jobs that the sweep asks for.
answer_count = Table(
    "answer_count",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("cells", Text, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("has_scores", Integer, nullable=False),
    # The unanswered questions of each answer as in `result`, and its tests; empty and 0 if there are none.
    Column("unanswered", Text, nullable=False),
    Column("tests_each", Integer, nullable=False),
    Column("jobs", Integer, nullable=False),
    # Sums over the answers, at the threshold of their jobs.
    Column("passed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
)
ANSWER_KEY = ("run_id", "state", "cells", "threshold", "has_scores", "unanswered", "tests_each")
ANSWER_SUMS = ("jobs", "passed", "failed")

# Failed and waiting jobs that the sweep asks for, by their error without its detail.
error_count = Table(
    "error_count",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("message", Text, nullable=False),
    # The detail of the first of them that was counted.
    Column("example", Text, nullable=False),
    Column("jobs", Integer, nullable=False),
)
ERROR_KEY = ("run_id", "state", "lane", "message")
ERROR_SUMS = ("jobs",)

# Cells that the sweep asks for, by their labels on the axes in `run.grouped`, and the answers that they have.
cell_count = Table(
    "cell_count",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    # A JSON object.
    Column("labels", Text, nullable=False),
    Column("threshold", Float, nullable=False),
    # The unanswered questions and the tests of each answer, 0 if it has no unanswered ones.
    Column("unanswered", Integer, nullable=False),
    Column("tests_each", Integer, nullable=False),
    Column("cells", Integer, nullable=False),
    # Those of failed and cancelled jobs.
    Column("ended", Integer, nullable=False),
    # Those for which an answer has numbers, and these numbers.
    Column("answered", Integer, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
)
CELL_KEY = ("run_id", "labels", "threshold", "unanswered", "tests_each")
CELL_SUMS = ("cells", "ended", "answered", "passed", "failed")

COUNTS = {
    job_count: (JOB_KEY, JOB_SUMS),
    answer_count: (ANSWER_KEY, ANSWER_SUMS),
    error_count: (ERROR_KEY, ERROR_SUMS),
    cell_count: (CELL_KEY, CELL_SUMS),
}
"""The tables of kept counts, each with the columns that say what a row counts, and those of its sums."""

for _table, (_key, _) in COUNTS.items():
    # Only SQLite adds to existing rows; see above.
    Index(f"uq_{_table.name}", *(_table.c[name] for name in _key), unique=True).ddl_if(
        dialect="sqlite"
    )
    Index(f"ix_{_table.name}_run", _table.c.run_id).ddl_if(dialect="postgresql")
