"""Keep counts of jobs, answers and errors, which triggers change with what they count.

Revision: 0026, after 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_FILL = (
    """
INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells, dated)
SELECT run_id, lane, cost_class, state, CASE WHEN cell_count > 0 THEN 1 ELSE 0 END,
    count(*),
    sum(cell_count),
    sum(CASE WHEN cell_count = 0 AND threshold IS NULL THEN 1 ELSE {length} END),
    sum(CASE WHEN state IN ('pending', 'waiting') AND due_at > 0 THEN 1 ELSE 0 END)
FROM job
GROUP BY 1, 2, 3, 4, 5
""",
    """
INSERT INTO answer_count
    (run_id, state, cells, threshold, has_scores, unanswered, tests_each, jobs, passed, failed)
SELECT job.run_id, job.state, job.cells, coalesce(job.threshold, -1e+300),
    CASE WHEN result.scores IS NULL THEN 0 ELSE 1 END,
    coalesce(result.unanswered, ''),
    CASE WHEN result.unanswered IS NULL THEN 0 ELSE result.passed + result.failed END,
    count(*), sum(result.passed), sum(result.failed)
FROM result JOIN job ON job.id = result.job_id
WHERE job.cell_count > 0
GROUP BY 1, 2, 3, 4, 5, 6, 7
""",
    """
INSERT INTO error_count (run_id, state, lane, message, example, jobs)
SELECT run_id, state, lane,
    replace(coalesce(error, ''), coalesce(': ' || detail, ''), ''),
    min(coalesce(detail, '')),
    count(*)
FROM job
WHERE state IN ('failed', 'waiting') AND cell_count > 0
GROUP BY 1, 2, 3, 4
""",
)
_KEYS = {
    "job_count": ("run_id", "lane", "cost_class", "state", "asked"),
    "answer_count": (
        "run_id",
        "state",
        "cells",
        "threshold",
        "has_scores",
        "unanswered",
        "tests_each",
    ),
    "error_count": ("run_id", "state", "lane", "message"),
}
_COLUMNS = {
    "job_count": {
        "lane": sa.Text(),
        "cost_class": sa.Text(),
        "state": sa.Text(),
        "asked": sa.Integer(),
        "jobs": sa.Integer(),
        "cells": sa.Integer(),
        "past_cells": sa.Integer(),
        "dated": sa.Integer(),
    },
    "answer_count": {
        "state": sa.Text(),
        "cells": sa.Text(),
        "threshold": sa.Float(),
        "has_scores": sa.Integer(),
        "unanswered": sa.Text(),
        "tests_each": sa.Integer(),
        "jobs": sa.Integer(),
        "passed": sa.Integer(),
        "failed": sa.Integer(),
    },
    "error_count": {
        "state": sa.Text(),
        "lane": sa.Text(),
        "message": sa.Text(),
        "example": sa.Text(),
        "jobs": sa.Integer(),
    },
}
_TRIGGERS = (
    """
CREATE TRIGGER count_job_insert AFTER INSERT ON job BEGIN
    INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
        dated) SELECT NEW.run_id, NEW.lane, NEW.cost_class, NEW.state, CASE WHEN NEW.cell_count
        > 0 THEN 1 ELSE 0 END, 1, NEW.cell_count, (CASE WHEN NEW.cell_count = 0 AND
        NEW.threshold IS NULL THEN 1 WHEN NEW.past_cells = '[]' THEN 0 ELSE
        json_array_length(NEW.past_cells) END), (CASE WHEN NEW.state IN ('pending', 'waiting')
        AND NEW.due_at > 0 THEN 1 ELSE 0 END) WHERE true ON CONFLICT (run_id, lane, cost_class,
        state, asked) DO UPDATE SET jobs = jobs + excluded.jobs, cells = cells + excluded.cells,
        past_cells = past_cells + excluded.past_cells, dated = dated + excluded.dated;
END
""",
    """
CREATE TRIGGER count_job_delete AFTER DELETE ON job BEGIN
    INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
        dated) SELECT OLD.run_id, OLD.lane, OLD.cost_class, OLD.state, CASE WHEN OLD.cell_count
        > 0 THEN 1 ELSE 0 END, -1, -OLD.cell_count, -(CASE WHEN OLD.cell_count = 0 AND
        OLD.threshold IS NULL THEN 1 WHEN OLD.past_cells = '[]' THEN 0 ELSE
        json_array_length(OLD.past_cells) END), -(CASE WHEN OLD.state IN ('pending', 'waiting')
        AND OLD.due_at > 0 THEN 1 ELSE 0 END) WHERE true ON CONFLICT (run_id, lane, cost_class,
        state, asked) DO UPDATE SET jobs = jobs + excluded.jobs, cells = cells + excluded.cells,
        past_cells = past_cells + excluded.past_cells, dated = dated + excluded.dated;
END
""",
    """
CREATE TRIGGER count_job_update AFTER UPDATE OF run_id, lane, cost_class, state, cell_count,
    past_cells, threshold, due_at ON job WHEN (OLD.run_id, OLD.lane, OLD.cost_class, OLD.state,
    OLD.cell_count, OLD.past_cells, OLD.threshold) IS NOT (NEW.run_id, NEW.lane, NEW.cost_class,
    NEW.state, NEW.cell_count, NEW.past_cells, NEW.threshold) OR (OLD.state IN ('pending',
    'waiting') AND OLD.due_at > 0) <> (NEW.state IN ('pending', 'waiting') AND NEW.due_at > 0)
    BEGIN
    INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
        dated) SELECT OLD.run_id, OLD.lane, OLD.cost_class, OLD.state, CASE WHEN OLD.cell_count
        > 0 THEN 1 ELSE 0 END, -1, -OLD.cell_count, -(CASE WHEN OLD.cell_count = 0 AND
        OLD.threshold IS NULL THEN 1 WHEN OLD.past_cells = '[]' THEN 0 ELSE
        json_array_length(OLD.past_cells) END), -(CASE WHEN OLD.state IN ('pending', 'waiting')
        AND OLD.due_at > 0 THEN 1 ELSE 0 END) WHERE true ON CONFLICT (run_id, lane, cost_class,
        state, asked) DO UPDATE SET jobs = jobs + excluded.jobs, cells = cells + excluded.cells,
        past_cells = past_cells + excluded.past_cells, dated = dated + excluded.dated;
    INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
        dated) SELECT NEW.run_id, NEW.lane, NEW.cost_class, NEW.state, CASE WHEN NEW.cell_count
        > 0 THEN 1 ELSE 0 END, 1, NEW.cell_count, (CASE WHEN NEW.cell_count = 0 AND
        NEW.threshold IS NULL THEN 1 WHEN NEW.past_cells = '[]' THEN 0 ELSE
        json_array_length(NEW.past_cells) END), (CASE WHEN NEW.state IN ('pending', 'waiting')
        AND NEW.due_at > 0 THEN 1 ELSE 0 END) WHERE true ON CONFLICT (run_id, lane, cost_class,
        state, asked) DO UPDATE SET jobs = jobs + excluded.jobs, cells = cells + excluded.cells,
        past_cells = past_cells + excluded.past_cells, dated = dated + excluded.dated;
END
""",
    """
CREATE TRIGGER count_error_insert AFTER INSERT ON job WHEN NEW.state IN ('failed', 'waiting')
    AND NEW.cell_count > 0 BEGIN
    INSERT INTO error_count (run_id, state, lane, message, example, jobs) SELECT NEW.run_id,
        NEW.state, NEW.lane, replace(coalesce(NEW.error, ''), coalesce(': ' || NEW.detail, ''),
        ''), coalesce(NEW.detail, ''), 1 WHERE NEW.state IN ('failed', 'waiting') AND
        NEW.cell_count > 0 ON CONFLICT (run_id, state, lane, message) DO UPDATE SET jobs = jobs
        + excluded.jobs;
END
""",
    """
CREATE TRIGGER count_error_delete AFTER DELETE ON job WHEN OLD.state IN ('failed', 'waiting')
    AND OLD.cell_count > 0 BEGIN
    INSERT INTO error_count (run_id, state, lane, message, example, jobs) SELECT OLD.run_id,
        OLD.state, OLD.lane, replace(coalesce(OLD.error, ''), coalesce(': ' || OLD.detail, ''),
        ''), coalesce(OLD.detail, ''), -1 WHERE OLD.state IN ('failed', 'waiting') AND
        OLD.cell_count > 0 ON CONFLICT (run_id, state, lane, message) DO UPDATE SET jobs = jobs
        + excluded.jobs;
END
""",
    """
CREATE TRIGGER count_error_update AFTER UPDATE OF run_id, state, lane, error, detail, cell_count
    ON job WHEN (OLD.state IN ('failed', 'waiting') AND OLD.cell_count > 0 OR NEW.state IN
    ('failed', 'waiting') AND NEW.cell_count > 0) AND (OLD.run_id, OLD.state, OLD.lane,
    OLD.error, OLD.detail, OLD.cell_count) IS NOT (NEW.run_id, NEW.state, NEW.lane, NEW.error,
    NEW.detail, NEW.cell_count) BEGIN
    INSERT INTO error_count (run_id, state, lane, message, example, jobs) SELECT OLD.run_id,
        OLD.state, OLD.lane, replace(coalesce(OLD.error, ''), coalesce(': ' || OLD.detail, ''),
        ''), coalesce(OLD.detail, ''), -1 WHERE OLD.state IN ('failed', 'waiting') AND
        OLD.cell_count > 0 ON CONFLICT (run_id, state, lane, message) DO UPDATE SET jobs = jobs
        + excluded.jobs;
    INSERT INTO error_count (run_id, state, lane, message, example, jobs) SELECT NEW.run_id,
        NEW.state, NEW.lane, replace(coalesce(NEW.error, ''), coalesce(': ' || NEW.detail, ''),
        ''), coalesce(NEW.detail, ''), 1 WHERE NEW.state IN ('failed', 'waiting') AND
        NEW.cell_count > 0 ON CONFLICT (run_id, state, lane, message) DO UPDATE SET jobs = jobs
        + excluded.jobs;
END
""",
    """
CREATE TRIGGER count_answer_of_job AFTER UPDATE OF run_id, state, cells, threshold, cell_count
    ON job WHEN (OLD.run_id, OLD.state, OLD.cells, OLD.threshold, OLD.cell_count) IS NOT
    (NEW.run_id, NEW.state, NEW.cells, NEW.threshold, NEW.cell_count) AND EXISTS (SELECT 1 FROM
    result WHERE result.job_id = NEW.id) BEGIN
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT OLD.run_id, OLD.state, OLD.cells,
        coalesce(OLD.threshold, -1e+300), CASE WHEN result.scores IS NULL THEN 0 ELSE 1 END,
        coalesce(result.unanswered, ''), CASE WHEN result.unanswered IS NULL THEN 0 ELSE
        result.passed + result.failed END, -1, -result.passed, -result.failed FROM result WHERE
        result.job_id = NEW.id AND OLD.cell_count > 0 ON CONFLICT (run_id, state, cells,
        threshold, has_scores, unanswered, tests_each) DO UPDATE SET jobs = jobs +
        excluded.jobs, passed = passed + excluded.passed, failed = failed + excluded.failed;
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT NEW.run_id, NEW.state, NEW.cells,
        coalesce(NEW.threshold, -1e+300), CASE WHEN result.scores IS NULL THEN 0 ELSE 1 END,
        coalesce(result.unanswered, ''), CASE WHEN result.unanswered IS NULL THEN 0 ELSE
        result.passed + result.failed END, 1, result.passed, result.failed FROM result WHERE
        result.job_id = NEW.id AND NEW.cell_count > 0 ON CONFLICT (run_id, state, cells,
        threshold, has_scores, unanswered, tests_each) DO UPDATE SET jobs = jobs +
        excluded.jobs, passed = passed + excluded.passed, failed = failed + excluded.failed;
END
""",
    """
CREATE TRIGGER count_answer_insert AFTER INSERT ON result BEGIN
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT job.run_id, job.state, job.cells,
        coalesce(job.threshold, -1e+300), CASE WHEN NEW.scores IS NULL THEN 0 ELSE 1 END,
        coalesce(NEW.unanswered, ''), CASE WHEN NEW.unanswered IS NULL THEN 0 ELSE NEW.passed +
        NEW.failed END, 1, NEW.passed, NEW.failed FROM job WHERE job.id = NEW.job_id AND
        job.cell_count > 0 ON CONFLICT (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each) DO UPDATE SET jobs = jobs + excluded.jobs, passed = passed +
        excluded.passed, failed = failed + excluded.failed;
END
""",
    """
CREATE TRIGGER count_answer_delete AFTER DELETE ON result BEGIN
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT job.run_id, job.state, job.cells,
        coalesce(job.threshold, -1e+300), CASE WHEN OLD.scores IS NULL THEN 0 ELSE 1 END,
        coalesce(OLD.unanswered, ''), CASE WHEN OLD.unanswered IS NULL THEN 0 ELSE OLD.passed +
        OLD.failed END, -1, -OLD.passed, -OLD.failed FROM job WHERE job.id = OLD.job_id AND
        job.cell_count > 0 ON CONFLICT (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each) DO UPDATE SET jobs = jobs + excluded.jobs, passed = passed +
        excluded.passed, failed = failed + excluded.failed;
END
""",
    """
CREATE TRIGGER count_answer_update AFTER UPDATE OF job_id, passed, failed, scores, unanswered ON
    result WHEN (OLD.job_id, OLD.passed, OLD.failed, OLD.scores, OLD.unanswered) IS NOT
    (NEW.job_id, NEW.passed, NEW.failed, NEW.scores, NEW.unanswered) BEGIN
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT job.run_id, job.state, job.cells,
        coalesce(job.threshold, -1e+300), CASE WHEN OLD.scores IS NULL THEN 0 ELSE 1 END,
        coalesce(OLD.unanswered, ''), CASE WHEN OLD.unanswered IS NULL THEN 0 ELSE OLD.passed +
        OLD.failed END, -1, -OLD.passed, -OLD.failed FROM job WHERE job.id = OLD.job_id AND
        job.cell_count > 0 ON CONFLICT (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each) DO UPDATE SET jobs = jobs + excluded.jobs, passed = passed +
        excluded.passed, failed = failed + excluded.failed;
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT job.run_id, job.state, job.cells,
        coalesce(job.threshold, -1e+300), CASE WHEN NEW.scores IS NULL THEN 0 ELSE 1 END,
        coalesce(NEW.unanswered, ''), CASE WHEN NEW.unanswered IS NULL THEN 0 ELSE NEW.passed +
        NEW.failed END, 1, NEW.passed, NEW.failed FROM job WHERE job.id = NEW.job_id AND
        job.cell_count > 0 ON CONFLICT (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each) DO UPDATE SET jobs = jobs + excluded.jobs, passed = passed +
        excluded.passed, failed = failed + excluded.failed;
END
""",
)


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, columns in _COLUMNS.items():
        op.create_table(
            table,
            sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
            sa.Column("run_id", sa.Integer(), nullable=False),
            *(sa.Column(name, kind, nullable=False) for name, kind in columns.items()),
            sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
            sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=f"fk_{table}_run_id"),
        )
        if is_sqlite:
            op.create_index(f"uq_{table}", table, [*_KEYS[table]], unique=True)
        else:
            op.create_index(f"ix_{table}_run", table, ["run_id"])
    lengths = {
        True: "json_array_length(past_cells)",
        False: "json_array_length(past_cells::json)",
    }
    for statement in _FILL:
        op.get_bind().exec_driver_sql(statement.format(length=lengths[is_sqlite]))
    for statement in _TRIGGERS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in _TRIGGERS:
        op.execute(f"DROP TRIGGER {statement.split()[2]}")
    for table in _COLUMNS:
        op.drop_table(table)
