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
_FILL_CELLS = {
    "sqlite": """
INSERT INTO cell_count
    (run_id, labels, threshold, unanswered, tests_each, cells, ended, answered, passed, failed)
SELECT run_id, labels, threshold, unanswered, tests_each, sum(cells), sum(ended), sum(answered),
    sum(passed), sum(failed)
FROM (
SELECT job.run_id AS run_id, (SELECT json_group_object(field, label) FROM (SELECT axis.key AS
    field, axis.value AS label FROM json_each(job.labels) AS axis WHERE axis.key IN (SELECT
    field.value FROM run, json_each(run.grouped) AS field WHERE run.id = job.run_id) ORDER BY
    axis.key)) AS labels, coalesce(at.value, -1e+300) AS threshold, 0 AS unanswered, 0 AS
    tests_each, 1 AS cells, (CASE WHEN job.state IN ('failed', 'cancelled') THEN 1 ELSE 0 END)
    AS ended, 0 AS answered, 0 AS passed, 0 AS failed FROM job JOIN json_each(CASE job.cells
    WHEN '[]' THEN '[null]' ELSE job.cells END) AS at WHERE job.cell_count > 0
UNION ALL
SELECT job.run_id AS run_id, (SELECT json_group_object(field, label) FROM (SELECT axis.key AS
    field, axis.value AS label FROM json_each(job.labels) AS axis WHERE axis.key IN (SELECT
    field.value FROM run, json_each(run.grouped) AS field WHERE run.id = job.run_id) ORDER BY
    axis.key)) AS labels, coalesce(at.value, -1e+300) AS threshold, CASE WHEN result.unanswered
    IS NULL THEN 0 ELSE (SELECT sum(reason.value) FROM json_each(result.unanswered) AS reason)
    END AS unanswered, CASE WHEN result.unanswered IS NULL THEN 0 ELSE result.passed +
    result.failed END AS tests_each, 0 AS cells, 0 AS ended, 1 AS answered, (result.passed +
    result.failed - (CASE WHEN (at.value IS NULL OR at.value = job.threshold) THEN result.failed
    ELSE (SELECT count(*) FROM json_each(result.scores) AS score WHERE score.value < at.value)
    END)) AS passed, (CASE WHEN (at.value IS NULL OR at.value = job.threshold) THEN
    result.failed ELSE (SELECT count(*) FROM json_each(result.scores) AS score WHERE score.value
    < at.value) END) AS failed FROM job JOIN result ON result.job_id = job.id JOIN
    json_each(CASE job.cells WHEN '[]' THEN '[null]' ELSE job.cells END) AS at WHERE
    job.cell_count > 0 AND ((at.value IS NULL OR at.value = job.threshold) OR result.scores IS
    NOT NULL)
) AS one
GROUP BY 1, 2, 3, 4, 5
""",
    "postgresql": """
INSERT INTO cell_count
    (run_id, labels, threshold, unanswered, tests_each, cells, ended, answered, passed, failed)
SELECT run_id, labels, threshold, unanswered, tests_each, sum(cells), sum(ended), sum(answered),
    sum(passed), sum(failed)
FROM (
SELECT job.run_id AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER BY
    axis.key)::text, '{}') FROM json_each(job.labels::json) AS axis WHERE axis.key IN (SELECT
    field.value FROM run, json_array_elements_text(run.grouped::json) AS field(value) WHERE
    run.id = job.run_id)) AS labels, coalesce(at.value::float8, -1e+300) AS threshold, 0 AS
    unanswered, 0 AS tests_each, 1 AS cells, (CASE WHEN job.state IN ('failed', 'cancelled')
    THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0 AS passed, 0 AS failed FROM job CROSS JOIN
    LATERAL json_array_elements_text((CASE job.cells WHEN '[]' THEN '[null]' ELSE job.cells
    END)::json) AS at(value) WHERE job.cell_count > 0
UNION ALL
SELECT job.run_id AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER BY
    axis.key)::text, '{}') FROM json_each(job.labels::json) AS axis WHERE axis.key IN (SELECT
    field.value FROM run, json_array_elements_text(run.grouped::json) AS field(value) WHERE
    run.id = job.run_id)) AS labels, coalesce(at.value::float8, -1e+300) AS threshold, CASE WHEN
    result.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value::integer) FROM
    json_each_text(result.unanswered::json) AS reason) END AS unanswered, CASE WHEN
    result.unanswered IS NULL THEN 0 ELSE result.passed + result.failed END AS tests_each, 0 AS
    cells, 0 AS ended, 1 AS answered, (result.passed + result.failed - (CASE WHEN
    (at.value::float8 IS NULL OR at.value::float8 = job.threshold) THEN result.failed ELSE
    (SELECT count(*) FROM json_array_elements_text(result.scores::json) AS score(value) WHERE
    score.value::float8 < at.value::float8) END)) AS passed, (CASE WHEN (at.value::float8 IS
    NULL OR at.value::float8 = job.threshold) THEN result.failed ELSE (SELECT count(*) FROM
    json_array_elements_text(result.scores::json) AS score(value) WHERE score.value::float8 <
    at.value::float8) END) AS failed FROM job JOIN result ON result.job_id = job.id CROSS JOIN
    LATERAL json_array_elements_text((CASE job.cells WHEN '[]' THEN '[null]' ELSE job.cells
    END)::json) AS at(value) WHERE job.cell_count > 0 AND ((at.value::float8 IS NULL OR
    at.value::float8 = job.threshold) OR result.scores IS NOT NULL)
) AS one
GROUP BY 1, 2, 3, 4, 5
""",
}
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
    "cell_count": ("run_id", "labels", "threshold", "unanswered", "tests_each"),
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
    "cell_count": {
        "labels": sa.Text(),
        "threshold": sa.Float(),
        "unanswered": sa.Integer(),
        "tests_each": sa.Integer(),
        "cells": sa.Integer(),
        "ended": sa.Integer(),
        "answered": sa.Integer(),
        "passed": sa.Integer(),
        "failed": sa.Integer(),
    },
}
_ON_SQLITE = (
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
    """
CREATE TRIGGER count_cell_insert AFTER INSERT ON job BEGIN
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT NEW.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(NEW.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = NEW.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, 0 AS unanswered, 0 AS tests_each, 1 AS cells, (CASE WHEN NEW.state IN
        ('failed', 'cancelled') THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0 AS passed, 0 AS
        failed FROM json_each(CASE NEW.cells WHEN '[]' THEN '[null]' ELSE NEW.cells END) AS at
        WHERE NEW.cell_count > 0 ON CONFLICT (run_id, labels, threshold, unanswered, tests_each)
        DO UPDATE SET cells = cells + excluded.cells, ended = ended + excluded.ended, answered =
        answered + excluded.answered, passed = passed + excluded.passed, failed = failed +
        excluded.failed;
END
""",
    """
CREATE TRIGGER count_cell_delete AFTER DELETE ON job BEGIN
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT OLD.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(OLD.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = OLD.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, 0 AS unanswered, 0 AS tests_each, -1 AS cells, -(CASE WHEN OLD.state IN
        ('failed', 'cancelled') THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0 AS passed, 0 AS
        failed FROM json_each(CASE OLD.cells WHEN '[]' THEN '[null]' ELSE OLD.cells END) AS at
        WHERE OLD.cell_count > 0 ON CONFLICT (run_id, labels, threshold, unanswered, tests_each)
        DO UPDATE SET cells = cells + excluded.cells, ended = ended + excluded.ended, answered =
        answered + excluded.answered, passed = passed + excluded.passed, failed = failed +
        excluded.failed;
END
""",
    """
CREATE TRIGGER count_cell_update AFTER UPDATE OF run_id, labels, cells, cell_count, threshold,
    state ON job WHEN (OLD.run_id, OLD.labels, OLD.cells, OLD.cell_count, OLD.threshold) IS NOT
    (NEW.run_id, NEW.labels, NEW.cells, NEW.cell_count, NEW.threshold) OR (OLD.state IN
    ('failed', 'cancelled')) <> (NEW.state IN ('failed', 'cancelled')) BEGIN
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT OLD.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(OLD.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = OLD.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, 0 AS unanswered, 0 AS tests_each, -1 AS cells, -(CASE WHEN OLD.state IN
        ('failed', 'cancelled') THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0 AS passed, 0 AS
        failed FROM json_each(CASE OLD.cells WHEN '[]' THEN '[null]' ELSE OLD.cells END) AS at
        WHERE OLD.cell_count > 0 ON CONFLICT (run_id, labels, threshold, unanswered, tests_each)
        DO UPDATE SET cells = cells + excluded.cells, ended = ended + excluded.ended, answered =
        answered + excluded.answered, passed = passed + excluded.passed, failed = failed +
        excluded.failed;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT NEW.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(NEW.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = NEW.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, 0 AS unanswered, 0 AS tests_each, 1 AS cells, (CASE WHEN NEW.state IN
        ('failed', 'cancelled') THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0 AS passed, 0 AS
        failed FROM json_each(CASE NEW.cells WHEN '[]' THEN '[null]' ELSE NEW.cells END) AS at
        WHERE NEW.cell_count > 0 ON CONFLICT (run_id, labels, threshold, unanswered, tests_each)
        DO UPDATE SET cells = cells + excluded.cells, ended = ended + excluded.ended, answered =
        answered + excluded.answered, passed = passed + excluded.passed, failed = failed +
        excluded.failed;
END
""",
    """
CREATE TRIGGER count_cell_of_job AFTER UPDATE OF run_id, labels, cells, cell_count, threshold ON
    job WHEN (OLD.run_id, OLD.labels, OLD.cells, OLD.cell_count, OLD.threshold) IS NOT
    (NEW.run_id, NEW.labels, NEW.cells, NEW.cell_count, NEW.threshold) AND EXISTS (SELECT 1 FROM
    result WHERE result.job_id = NEW.id) BEGIN
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT OLD.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(OLD.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = OLD.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, CASE WHEN result.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value)
        FROM json_each(result.unanswered) AS reason) END AS unanswered, CASE WHEN
        result.unanswered IS NULL THEN 0 ELSE result.passed + result.failed END AS tests_each, 0
        AS cells, 0 AS ended, -1 AS answered, -(result.passed + result.failed - (CASE WHEN
        (at.value IS NULL OR at.value = OLD.threshold) THEN result.failed ELSE (SELECT count(*)
        FROM json_each(result.scores) AS score WHERE score.value < at.value) END)) AS passed,
        -(CASE WHEN (at.value IS NULL OR at.value = OLD.threshold) THEN result.failed ELSE
        (SELECT count(*) FROM json_each(result.scores) AS score WHERE score.value < at.value)
        END) AS failed FROM result JOIN json_each(CASE OLD.cells WHEN '[]' THEN '[null]' ELSE
        OLD.cells END) AS at WHERE OLD.cell_count > 0 AND ((at.value IS NULL OR at.value =
        OLD.threshold) OR result.scores IS NOT NULL) AND result.job_id = NEW.id ON CONFLICT
        (run_id, labels, threshold, unanswered, tests_each) DO UPDATE SET cells = cells +
        excluded.cells, ended = ended + excluded.ended, answered = answered + excluded.answered,
        passed = passed + excluded.passed, failed = failed + excluded.failed;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT NEW.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(NEW.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = NEW.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, CASE WHEN result.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value)
        FROM json_each(result.unanswered) AS reason) END AS unanswered, CASE WHEN
        result.unanswered IS NULL THEN 0 ELSE result.passed + result.failed END AS tests_each, 0
        AS cells, 0 AS ended, 1 AS answered, (result.passed + result.failed - (CASE WHEN
        (at.value IS NULL OR at.value = NEW.threshold) THEN result.failed ELSE (SELECT count(*)
        FROM json_each(result.scores) AS score WHERE score.value < at.value) END)) AS passed,
        (CASE WHEN (at.value IS NULL OR at.value = NEW.threshold) THEN result.failed ELSE
        (SELECT count(*) FROM json_each(result.scores) AS score WHERE score.value < at.value)
        END) AS failed FROM result JOIN json_each(CASE NEW.cells WHEN '[]' THEN '[null]' ELSE
        NEW.cells END) AS at WHERE NEW.cell_count > 0 AND ((at.value IS NULL OR at.value =
        NEW.threshold) OR result.scores IS NOT NULL) AND result.job_id = NEW.id ON CONFLICT
        (run_id, labels, threshold, unanswered, tests_each) DO UPDATE SET cells = cells +
        excluded.cells, ended = ended + excluded.ended, answered = answered + excluded.answered,
        passed = passed + excluded.passed, failed = failed + excluded.failed;
END
""",
    """
CREATE TRIGGER count_cell_answer AFTER INSERT ON result BEGIN
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT job.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(job.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = job.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, CASE WHEN NEW.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value) FROM
        json_each(NEW.unanswered) AS reason) END AS unanswered, CASE WHEN NEW.unanswered IS NULL
        THEN 0 ELSE NEW.passed + NEW.failed END AS tests_each, 0 AS cells, 0 AS ended, 1 AS
        answered, (NEW.passed + NEW.failed - (CASE WHEN (at.value IS NULL OR at.value =
        job.threshold) THEN NEW.failed ELSE (SELECT count(*) FROM json_each(NEW.scores) AS score
        WHERE score.value < at.value) END)) AS passed, (CASE WHEN (at.value IS NULL OR at.value
        = job.threshold) THEN NEW.failed ELSE (SELECT count(*) FROM json_each(NEW.scores) AS
        score WHERE score.value < at.value) END) AS failed FROM job JOIN json_each(CASE
        job.cells WHEN '[]' THEN '[null]' ELSE job.cells END) AS at WHERE job.cell_count > 0 AND
        ((at.value IS NULL OR at.value = job.threshold) OR NEW.scores IS NOT NULL) AND job.id =
        NEW.job_id ON CONFLICT (run_id, labels, threshold, unanswered, tests_each) DO UPDATE SET
        cells = cells + excluded.cells, ended = ended + excluded.ended, answered = answered +
        excluded.answered, passed = passed + excluded.passed, failed = failed + excluded.failed;
END
""",
    """
CREATE TRIGGER count_cell_forget AFTER DELETE ON result BEGIN
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT job.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(job.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = job.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, CASE WHEN OLD.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value) FROM
        json_each(OLD.unanswered) AS reason) END AS unanswered, CASE WHEN OLD.unanswered IS NULL
        THEN 0 ELSE OLD.passed + OLD.failed END AS tests_each, 0 AS cells, 0 AS ended, -1 AS
        answered, -(OLD.passed + OLD.failed - (CASE WHEN (at.value IS NULL OR at.value =
        job.threshold) THEN OLD.failed ELSE (SELECT count(*) FROM json_each(OLD.scores) AS score
        WHERE score.value < at.value) END)) AS passed, -(CASE WHEN (at.value IS NULL OR at.value
        = job.threshold) THEN OLD.failed ELSE (SELECT count(*) FROM json_each(OLD.scores) AS
        score WHERE score.value < at.value) END) AS failed FROM job JOIN json_each(CASE
        job.cells WHEN '[]' THEN '[null]' ELSE job.cells END) AS at WHERE job.cell_count > 0 AND
        ((at.value IS NULL OR at.value = job.threshold) OR OLD.scores IS NOT NULL) AND job.id =
        OLD.job_id ON CONFLICT (run_id, labels, threshold, unanswered, tests_each) DO UPDATE SET
        cells = cells + excluded.cells, ended = ended + excluded.ended, answered = answered +
        excluded.answered, passed = passed + excluded.passed, failed = failed + excluded.failed;
END
""",
    """
CREATE TRIGGER count_cell_again AFTER UPDATE OF job_id, passed, failed, scores, unanswered ON
    result WHEN (OLD.job_id, OLD.passed, OLD.failed, OLD.scores, OLD.unanswered) IS NOT
    (NEW.job_id, NEW.passed, NEW.failed, NEW.scores, NEW.unanswered) BEGIN
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT job.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(job.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = job.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, CASE WHEN OLD.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value) FROM
        json_each(OLD.unanswered) AS reason) END AS unanswered, CASE WHEN OLD.unanswered IS NULL
        THEN 0 ELSE OLD.passed + OLD.failed END AS tests_each, 0 AS cells, 0 AS ended, -1 AS
        answered, -(OLD.passed + OLD.failed - (CASE WHEN (at.value IS NULL OR at.value =
        job.threshold) THEN OLD.failed ELSE (SELECT count(*) FROM json_each(OLD.scores) AS score
        WHERE score.value < at.value) END)) AS passed, -(CASE WHEN (at.value IS NULL OR at.value
        = job.threshold) THEN OLD.failed ELSE (SELECT count(*) FROM json_each(OLD.scores) AS
        score WHERE score.value < at.value) END) AS failed FROM job JOIN json_each(CASE
        job.cells WHEN '[]' THEN '[null]' ELSE job.cells END) AS at WHERE job.cell_count > 0 AND
        ((at.value IS NULL OR at.value = job.threshold) OR OLD.scores IS NOT NULL) AND job.id =
        OLD.job_id ON CONFLICT (run_id, labels, threshold, unanswered, tests_each) DO UPDATE SET
        cells = cells + excluded.cells, ended = ended + excluded.ended, answered = answered +
        excluded.answered, passed = passed + excluded.passed, failed = failed + excluded.failed;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT job.run_id AS run_id, (SELECT json_group_object(field,
        label) FROM (SELECT axis.key AS field, axis.value AS label FROM json_each(job.labels) AS
        axis WHERE axis.key IN (SELECT field.value FROM run, json_each(run.grouped) AS field
        WHERE run.id = job.run_id) ORDER BY axis.key)) AS labels, coalesce(at.value, -1e+300) AS
        threshold, CASE WHEN NEW.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value) FROM
        json_each(NEW.unanswered) AS reason) END AS unanswered, CASE WHEN NEW.unanswered IS NULL
        THEN 0 ELSE NEW.passed + NEW.failed END AS tests_each, 0 AS cells, 0 AS ended, 1 AS
        answered, (NEW.passed + NEW.failed - (CASE WHEN (at.value IS NULL OR at.value =
        job.threshold) THEN NEW.failed ELSE (SELECT count(*) FROM json_each(NEW.scores) AS score
        WHERE score.value < at.value) END)) AS passed, (CASE WHEN (at.value IS NULL OR at.value
        = job.threshold) THEN NEW.failed ELSE (SELECT count(*) FROM json_each(NEW.scores) AS
        score WHERE score.value < at.value) END) AS failed FROM job JOIN json_each(CASE
        job.cells WHEN '[]' THEN '[null]' ELSE job.cells END) AS at WHERE job.cell_count > 0 AND
        ((at.value IS NULL OR at.value = job.threshold) OR NEW.scores IS NOT NULL) AND job.id =
        NEW.job_id ON CONFLICT (run_id, labels, threshold, unanswered, tests_each) DO UPDATE SET
        cells = cells + excluded.cells, ended = ended + excluded.ended, answered = answered +
        excluded.answered, passed = passed + excluded.passed, failed = failed + excluded.failed;
END
""",
)
_ON_POSTGRESQL = (
    """
CREATE FUNCTION fold_job_count() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(1314084688, 0) THEN
        WITH gone AS (DELETE FROM job_count RETURNING *)
        INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
            dated)
        SELECT run_id, lane, cost_class, state, asked, sum(jobs), sum(cells), sum(past_cells),
            sum(dated) FROM gone GROUP BY run_id, lane, cost_class, state, asked HAVING
            sum(jobs) <> 0 OR sum(cells) <> 0 OR sum(past_cells) <> 0 OR sum(dated) <> 0;
    END IF;
END $$
""",
    """
CREATE FUNCTION fold_answer_count() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(1314084688, 1) THEN
        WITH gone AS (DELETE FROM answer_count RETURNING *)
        INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
            tests_each, jobs, passed, failed)
        SELECT run_id, state, cells, threshold, has_scores, unanswered, tests_each, sum(jobs),
            sum(passed), sum(failed) FROM gone GROUP BY run_id, state, cells, threshold,
            has_scores, unanswered, tests_each HAVING sum(jobs) <> 0 OR sum(passed) <> 0 OR
            sum(failed) <> 0;
    END IF;
END $$
""",
    """
CREATE FUNCTION fold_error_count() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(1314084688, 2) THEN
        WITH gone AS (DELETE FROM error_count RETURNING *)
        INSERT INTO error_count (run_id, state, lane, message, example, jobs)
        SELECT run_id, state, lane, message, min(example), sum(jobs) FROM gone GROUP BY run_id,
            state, lane, message HAVING sum(jobs) <> 0;
    END IF;
END $$
""",
    """
CREATE FUNCTION fold_cell_count() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(1314084688, 3) THEN
        WITH gone AS (DELETE FROM cell_count RETURNING *)
        INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
            answered, passed, failed)
        SELECT run_id, labels, threshold, unanswered, tests_each, sum(cells), sum(ended),
            sum(answered), sum(passed), sum(failed) FROM gone GROUP BY run_id, labels,
            threshold, unanswered, tests_each HAVING sum(cells) <> 0 OR sum(ended) <> 0 OR
            sum(answered) <> 0 OR sum(passed) <> 0 OR sum(failed) <> 0;
    END IF;
END $$
""",
    """
CREATE FUNCTION count_job_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
        dated) SELECT run_id, lane, cost_class, state, asked, sum(jobs), sum(cells),
        sum(past_cells), sum(dated) FROM (SELECT new_rows.run_id, new_rows.lane,
        new_rows.cost_class, new_rows.state, CASE WHEN new_rows.cell_count > 0 THEN 1 ELSE 0
        END, 1, new_rows.cell_count, (CASE WHEN new_rows.cell_count = 0 AND new_rows.threshold
        IS NULL THEN 1 WHEN new_rows.past_cells = '[]' THEN 0 ELSE
        json_array_length(new_rows.past_cells::json) END), (CASE WHEN new_rows.state IN
        ('pending', 'waiting') AND new_rows.due_at > 0 THEN 1 ELSE 0 END) FROM new_rows) AS one
        (run_id, lane, cost_class, state, asked, jobs, cells, past_cells, dated) GROUP BY
        run_id, lane, cost_class, state, asked HAVING sum(jobs) <> 0 OR sum(cells) <> 0 OR
        sum(past_cells) <> 0 OR sum(dated) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_job_count(); END IF;
    INSERT INTO error_count (run_id, state, lane, message, example, jobs) SELECT run_id, state,
        lane, message, min(example), sum(jobs) FROM (SELECT new_rows.run_id, new_rows.state,
        new_rows.lane, replace(coalesce(new_rows.error, ''), coalesce(': ' || new_rows.detail,
        ''), ''), coalesce(new_rows.detail, ''), 1 FROM new_rows WHERE new_rows.state IN
        ('failed', 'waiting') AND new_rows.cell_count > 0) AS one (run_id, state, lane, message,
        example, jobs) GROUP BY run_id, state, lane, message HAVING sum(jobs) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_error_count(); END IF;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT run_id, labels, threshold, unanswered, tests_each,
        sum(cells), sum(ended), sum(answered), sum(passed), sum(failed) FROM (SELECT
        new_rows.run_id AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER
        BY axis.key)::text, '{}') FROM json_each(new_rows.labels::json) AS axis WHERE axis.key
        IN (SELECT field.value FROM run, json_array_elements_text(run.grouped::json) AS
        field(value) WHERE run.id = new_rows.run_id)) AS labels, coalesce(at.value::float8,
        -1e+300) AS threshold, 0 AS unanswered, 0 AS tests_each, 1 AS cells, (CASE WHEN
        new_rows.state IN ('failed', 'cancelled') THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0
        AS passed, 0 AS failed FROM new_rows CROSS JOIN LATERAL json_array_elements_text((CASE
        new_rows.cells WHEN '[]' THEN '[null]' ELSE new_rows.cells END)::json) AS at(value)
        WHERE new_rows.cell_count > 0) AS one (run_id, labels, threshold, unanswered,
        tests_each, cells, ended, answered, passed, failed) GROUP BY run_id, labels, threshold,
        unanswered, tests_each HAVING sum(cells) <> 0 OR sum(ended) <> 0 OR sum(answered) <> 0
        OR sum(passed) <> 0 OR sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_cell_count(); END IF;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER count_job_insert AFTER INSERT ON job REFERENCING NEW TABLE AS new_rows FOR EACH
    STATEMENT EXECUTE FUNCTION count_job_insert()
""",
    """
CREATE FUNCTION count_result_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT run_id, state, cells, threshold, has_scores,
        unanswered, tests_each, sum(jobs), sum(passed), sum(failed) FROM (SELECT job.run_id,
        job.state, job.cells, coalesce(job.threshold, -1e+300), CASE WHEN new_rows.scores IS
        NULL THEN 0 ELSE 1 END, coalesce(new_rows.unanswered, ''), CASE WHEN new_rows.unanswered
        IS NULL THEN 0 ELSE new_rows.passed + new_rows.failed END, 1, new_rows.passed,
        new_rows.failed FROM new_rows JOIN job ON job.id = new_rows.job_id WHERE job.cell_count
        > 0) AS one (run_id, state, cells, threshold, has_scores, unanswered, tests_each, jobs,
        passed, failed) GROUP BY run_id, state, cells, threshold, has_scores, unanswered,
        tests_each HAVING sum(jobs) <> 0 OR sum(passed) <> 0 OR sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_answer_count(); END IF;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT run_id, labels, threshold, unanswered, tests_each,
        sum(cells), sum(ended), sum(answered), sum(passed), sum(failed) FROM (SELECT job.run_id
        AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER BY
        axis.key)::text, '{}') FROM json_each(job.labels::json) AS axis WHERE axis.key IN
        (SELECT field.value FROM run, json_array_elements_text(run.grouped::json) AS
        field(value) WHERE run.id = job.run_id)) AS labels, coalesce(at.value::float8, -1e+300)
        AS threshold, CASE WHEN new_rows.unanswered IS NULL THEN 0 ELSE (SELECT
        sum(reason.value::integer) FROM json_each_text(new_rows.unanswered::json) AS reason) END
        AS unanswered, CASE WHEN new_rows.unanswered IS NULL THEN 0 ELSE new_rows.passed +
        new_rows.failed END AS tests_each, 0 AS cells, 0 AS ended, 1 AS answered,
        (new_rows.passed + new_rows.failed - (CASE WHEN (at.value::float8 IS NULL OR
        at.value::float8 = job.threshold) THEN new_rows.failed ELSE (SELECT count(*) FROM
        json_array_elements_text(new_rows.scores::json) AS score(value) WHERE
        score.value::float8 < at.value::float8) END)) AS passed, (CASE WHEN (at.value::float8 IS
        NULL OR at.value::float8 = job.threshold) THEN new_rows.failed ELSE (SELECT count(*)
        FROM json_array_elements_text(new_rows.scores::json) AS score(value) WHERE
        score.value::float8 < at.value::float8) END) AS failed FROM new_rows JOIN job ON job.id
        = new_rows.job_id CROSS JOIN LATERAL json_array_elements_text((CASE job.cells WHEN '[]'
        THEN '[null]' ELSE job.cells END)::json) AS at(value) WHERE job.cell_count > 0 AND
        ((at.value::float8 IS NULL OR at.value::float8 = job.threshold) OR new_rows.scores IS
        NOT NULL)) AS one (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) GROUP BY run_id, labels, threshold, unanswered, tests_each
        HAVING sum(cells) <> 0 OR sum(ended) <> 0 OR sum(answered) <> 0 OR sum(passed) <> 0 OR
        sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_cell_count(); END IF;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER count_result_insert AFTER INSERT ON result REFERENCING NEW TABLE AS new_rows FOR
    EACH STATEMENT EXECUTE FUNCTION count_result_insert()
""",
    """
CREATE FUNCTION count_job_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
        dated) SELECT run_id, lane, cost_class, state, asked, sum(jobs), sum(cells),
        sum(past_cells), sum(dated) FROM (SELECT old_rows.run_id, old_rows.lane,
        old_rows.cost_class, old_rows.state, CASE WHEN old_rows.cell_count > 0 THEN 1 ELSE 0
        END, -1, -old_rows.cell_count, -(CASE WHEN old_rows.cell_count = 0 AND
        old_rows.threshold IS NULL THEN 1 WHEN old_rows.past_cells = '[]' THEN 0 ELSE
        json_array_length(old_rows.past_cells::json) END), -(CASE WHEN old_rows.state IN
        ('pending', 'waiting') AND old_rows.due_at > 0 THEN 1 ELSE 0 END) FROM old_rows UNION
        ALL SELECT new_rows.run_id, new_rows.lane, new_rows.cost_class, new_rows.state, CASE
        WHEN new_rows.cell_count > 0 THEN 1 ELSE 0 END, 1, new_rows.cell_count, (CASE WHEN
        new_rows.cell_count = 0 AND new_rows.threshold IS NULL THEN 1 WHEN new_rows.past_cells =
        '[]' THEN 0 ELSE json_array_length(new_rows.past_cells::json) END), (CASE WHEN
        new_rows.state IN ('pending', 'waiting') AND new_rows.due_at > 0 THEN 1 ELSE 0 END) FROM
        new_rows) AS one (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
        dated) GROUP BY run_id, lane, cost_class, state, asked HAVING sum(jobs) <> 0 OR
        sum(cells) <> 0 OR sum(past_cells) <> 0 OR sum(dated) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_job_count(); END IF;
    INSERT INTO error_count (run_id, state, lane, message, example, jobs) SELECT run_id, state,
        lane, message, min(example), sum(jobs) FROM (SELECT old_rows.run_id, old_rows.state,
        old_rows.lane, replace(coalesce(old_rows.error, ''), coalesce(': ' || old_rows.detail,
        ''), ''), coalesce(old_rows.detail, ''), -1 FROM old_rows WHERE old_rows.state IN
        ('failed', 'waiting') AND old_rows.cell_count > 0 UNION ALL SELECT new_rows.run_id,
        new_rows.state, new_rows.lane, replace(coalesce(new_rows.error, ''), coalesce(': ' ||
        new_rows.detail, ''), ''), coalesce(new_rows.detail, ''), 1 FROM new_rows WHERE
        new_rows.state IN ('failed', 'waiting') AND new_rows.cell_count > 0) AS one (run_id,
        state, lane, message, example, jobs) GROUP BY run_id, state, lane, message HAVING
        sum(jobs) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_error_count(); END IF;
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT run_id, state, cells, threshold, has_scores,
        unanswered, tests_each, sum(jobs), sum(passed), sum(failed) FROM (SELECT
        old_rows.run_id, old_rows.state, old_rows.cells, coalesce(old_rows.threshold, -1e+300),
        CASE WHEN result.scores IS NULL THEN 0 ELSE 1 END, coalesce(result.unanswered, ''), CASE
        WHEN result.unanswered IS NULL THEN 0 ELSE result.passed + result.failed END, -1,
        -result.passed, -result.failed FROM old_rows JOIN result ON result.job_id = old_rows.id
        WHERE old_rows.cell_count > 0 UNION ALL SELECT new_rows.run_id, new_rows.state,
        new_rows.cells, coalesce(new_rows.threshold, -1e+300), CASE WHEN result.scores IS NULL
        THEN 0 ELSE 1 END, coalesce(result.unanswered, ''), CASE WHEN result.unanswered IS NULL
        THEN 0 ELSE result.passed + result.failed END, 1, result.passed, result.failed FROM
        new_rows JOIN result ON result.job_id = new_rows.id WHERE new_rows.cell_count > 0) AS
        one (run_id, state, cells, threshold, has_scores, unanswered, tests_each, jobs, passed,
        failed) GROUP BY run_id, state, cells, threshold, has_scores, unanswered, tests_each
        HAVING sum(jobs) <> 0 OR sum(passed) <> 0 OR sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_answer_count(); END IF;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT run_id, labels, threshold, unanswered, tests_each,
        sum(cells), sum(ended), sum(answered), sum(passed), sum(failed) FROM (SELECT
        old_rows.run_id AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER
        BY axis.key)::text, '{}') FROM json_each(old_rows.labels::json) AS axis WHERE axis.key
        IN (SELECT field.value FROM run, json_array_elements_text(run.grouped::json) AS
        field(value) WHERE run.id = old_rows.run_id)) AS labels, coalesce(at.value::float8,
        -1e+300) AS threshold, CASE WHEN result.unanswered IS NULL THEN 0 ELSE (SELECT
        sum(reason.value::integer) FROM json_each_text(result.unanswered::json) AS reason) END
        AS unanswered, CASE WHEN result.unanswered IS NULL THEN 0 ELSE result.passed +
        result.failed END AS tests_each, 0 AS cells, 0 AS ended, -1 AS answered, -(result.passed
        + result.failed - (CASE WHEN (at.value::float8 IS NULL OR at.value::float8 =
        old_rows.threshold) THEN result.failed ELSE (SELECT count(*) FROM
        json_array_elements_text(result.scores::json) AS score(value) WHERE score.value::float8
        < at.value::float8) END)) AS passed, -(CASE WHEN (at.value::float8 IS NULL OR
        at.value::float8 = old_rows.threshold) THEN result.failed ELSE (SELECT count(*) FROM
        json_array_elements_text(result.scores::json) AS score(value) WHERE score.value::float8
        < at.value::float8) END) AS failed FROM old_rows JOIN result ON result.job_id =
        old_rows.id CROSS JOIN LATERAL json_array_elements_text((CASE old_rows.cells WHEN '[]'
        THEN '[null]' ELSE old_rows.cells END)::json) AS at(value) WHERE old_rows.cell_count > 0
        AND ((at.value::float8 IS NULL OR at.value::float8 = old_rows.threshold) OR
        result.scores IS NOT NULL) UNION ALL SELECT new_rows.run_id AS run_id, (SELECT
        coalesce(json_object_agg(axis.key, axis.value ORDER BY axis.key)::text, '{}') FROM
        json_each(new_rows.labels::json) AS axis WHERE axis.key IN (SELECT field.value FROM run,
        json_array_elements_text(run.grouped::json) AS field(value) WHERE run.id =
        new_rows.run_id)) AS labels, coalesce(at.value::float8, -1e+300) AS threshold, CASE WHEN
        result.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value::integer) FROM
        json_each_text(result.unanswered::json) AS reason) END AS unanswered, CASE WHEN
        result.unanswered IS NULL THEN 0 ELSE result.passed + result.failed END AS tests_each, 0
        AS cells, 0 AS ended, 1 AS answered, (result.passed + result.failed - (CASE WHEN
        (at.value::float8 IS NULL OR at.value::float8 = new_rows.threshold) THEN result.failed
        ELSE (SELECT count(*) FROM json_array_elements_text(result.scores::json) AS score(value)
        WHERE score.value::float8 < at.value::float8) END)) AS passed, (CASE WHEN
        (at.value::float8 IS NULL OR at.value::float8 = new_rows.threshold) THEN result.failed
        ELSE (SELECT count(*) FROM json_array_elements_text(result.scores::json) AS score(value)
        WHERE score.value::float8 < at.value::float8) END) AS failed FROM new_rows JOIN result
        ON result.job_id = new_rows.id CROSS JOIN LATERAL json_array_elements_text((CASE
        new_rows.cells WHEN '[]' THEN '[null]' ELSE new_rows.cells END)::json) AS at(value)
        WHERE new_rows.cell_count > 0 AND ((at.value::float8 IS NULL OR at.value::float8 =
        new_rows.threshold) OR result.scores IS NOT NULL)) AS one (run_id, labels, threshold,
        unanswered, tests_each, cells, ended, answered, passed, failed) GROUP BY run_id, labels,
        threshold, unanswered, tests_each HAVING sum(cells) <> 0 OR sum(ended) <> 0 OR
        sum(answered) <> 0 OR sum(passed) <> 0 OR sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_cell_count(); END IF;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT run_id, labels, threshold, unanswered, tests_each,
        sum(cells), sum(ended), sum(answered), sum(passed), sum(failed) FROM (SELECT
        old_rows.run_id AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER
        BY axis.key)::text, '{}') FROM json_each(old_rows.labels::json) AS axis WHERE axis.key
        IN (SELECT field.value FROM run, json_array_elements_text(run.grouped::json) AS
        field(value) WHERE run.id = old_rows.run_id)) AS labels, coalesce(at.value::float8,
        -1e+300) AS threshold, 0 AS unanswered, 0 AS tests_each, -1 AS cells, -(CASE WHEN
        old_rows.state IN ('failed', 'cancelled') THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0
        AS passed, 0 AS failed FROM old_rows CROSS JOIN LATERAL json_array_elements_text((CASE
        old_rows.cells WHEN '[]' THEN '[null]' ELSE old_rows.cells END)::json) AS at(value)
        WHERE old_rows.cell_count > 0 UNION ALL SELECT new_rows.run_id AS run_id, (SELECT
        coalesce(json_object_agg(axis.key, axis.value ORDER BY axis.key)::text, '{}') FROM
        json_each(new_rows.labels::json) AS axis WHERE axis.key IN (SELECT field.value FROM run,
        json_array_elements_text(run.grouped::json) AS field(value) WHERE run.id =
        new_rows.run_id)) AS labels, coalesce(at.value::float8, -1e+300) AS threshold, 0 AS
        unanswered, 0 AS tests_each, 1 AS cells, (CASE WHEN new_rows.state IN ('failed',
        'cancelled') THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0 AS passed, 0 AS failed FROM
        new_rows CROSS JOIN LATERAL json_array_elements_text((CASE new_rows.cells WHEN '[]' THEN
        '[null]' ELSE new_rows.cells END)::json) AS at(value) WHERE new_rows.cell_count > 0) AS
        one (run_id, labels, threshold, unanswered, tests_each, cells, ended, answered, passed,
        failed) GROUP BY run_id, labels, threshold, unanswered, tests_each HAVING sum(cells) <>
        0 OR sum(ended) <> 0 OR sum(answered) <> 0 OR sum(passed) <> 0 OR sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_cell_count(); END IF;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER count_job_update AFTER UPDATE ON job REFERENCING OLD TABLE AS old_rows NEW TABLE
    AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_job_update()
""",
    """
CREATE FUNCTION count_result_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT run_id, state, cells, threshold, has_scores,
        unanswered, tests_each, sum(jobs), sum(passed), sum(failed) FROM (SELECT job.run_id,
        job.state, job.cells, coalesce(job.threshold, -1e+300), CASE WHEN old_rows.scores IS
        NULL THEN 0 ELSE 1 END, coalesce(old_rows.unanswered, ''), CASE WHEN old_rows.unanswered
        IS NULL THEN 0 ELSE old_rows.passed + old_rows.failed END, -1, -old_rows.passed,
        -old_rows.failed FROM old_rows JOIN job ON job.id = old_rows.job_id WHERE job.cell_count
        > 0 UNION ALL SELECT job.run_id, job.state, job.cells, coalesce(job.threshold, -1e+300),
        CASE WHEN new_rows.scores IS NULL THEN 0 ELSE 1 END, coalesce(new_rows.unanswered, ''),
        CASE WHEN new_rows.unanswered IS NULL THEN 0 ELSE new_rows.passed + new_rows.failed END,
        1, new_rows.passed, new_rows.failed FROM new_rows JOIN job ON job.id = new_rows.job_id
        WHERE job.cell_count > 0) AS one (run_id, state, cells, threshold, has_scores,
        unanswered, tests_each, jobs, passed, failed) GROUP BY run_id, state, cells, threshold,
        has_scores, unanswered, tests_each HAVING sum(jobs) <> 0 OR sum(passed) <> 0 OR
        sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_answer_count(); END IF;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT run_id, labels, threshold, unanswered, tests_each,
        sum(cells), sum(ended), sum(answered), sum(passed), sum(failed) FROM (SELECT job.run_id
        AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER BY
        axis.key)::text, '{}') FROM json_each(job.labels::json) AS axis WHERE axis.key IN
        (SELECT field.value FROM run, json_array_elements_text(run.grouped::json) AS
        field(value) WHERE run.id = job.run_id)) AS labels, coalesce(at.value::float8, -1e+300)
        AS threshold, CASE WHEN old_rows.unanswered IS NULL THEN 0 ELSE (SELECT
        sum(reason.value::integer) FROM json_each_text(old_rows.unanswered::json) AS reason) END
        AS unanswered, CASE WHEN old_rows.unanswered IS NULL THEN 0 ELSE old_rows.passed +
        old_rows.failed END AS tests_each, 0 AS cells, 0 AS ended, -1 AS answered,
        -(old_rows.passed + old_rows.failed - (CASE WHEN (at.value::float8 IS NULL OR
        at.value::float8 = job.threshold) THEN old_rows.failed ELSE (SELECT count(*) FROM
        json_array_elements_text(old_rows.scores::json) AS score(value) WHERE
        score.value::float8 < at.value::float8) END)) AS passed, -(CASE WHEN (at.value::float8
        IS NULL OR at.value::float8 = job.threshold) THEN old_rows.failed ELSE (SELECT count(*)
        FROM json_array_elements_text(old_rows.scores::json) AS score(value) WHERE
        score.value::float8 < at.value::float8) END) AS failed FROM old_rows JOIN job ON job.id
        = old_rows.job_id CROSS JOIN LATERAL json_array_elements_text((CASE job.cells WHEN '[]'
        THEN '[null]' ELSE job.cells END)::json) AS at(value) WHERE job.cell_count > 0 AND
        ((at.value::float8 IS NULL OR at.value::float8 = job.threshold) OR old_rows.scores IS
        NOT NULL) UNION ALL SELECT job.run_id AS run_id, (SELECT
        coalesce(json_object_agg(axis.key, axis.value ORDER BY axis.key)::text, '{}') FROM
        json_each(job.labels::json) AS axis WHERE axis.key IN (SELECT field.value FROM run,
        json_array_elements_text(run.grouped::json) AS field(value) WHERE run.id = job.run_id))
        AS labels, coalesce(at.value::float8, -1e+300) AS threshold, CASE WHEN
        new_rows.unanswered IS NULL THEN 0 ELSE (SELECT sum(reason.value::integer) FROM
        json_each_text(new_rows.unanswered::json) AS reason) END AS unanswered, CASE WHEN
        new_rows.unanswered IS NULL THEN 0 ELSE new_rows.passed + new_rows.failed END AS
        tests_each, 0 AS cells, 0 AS ended, 1 AS answered, (new_rows.passed + new_rows.failed -
        (CASE WHEN (at.value::float8 IS NULL OR at.value::float8 = job.threshold) THEN
        new_rows.failed ELSE (SELECT count(*) FROM
        json_array_elements_text(new_rows.scores::json) AS score(value) WHERE
        score.value::float8 < at.value::float8) END)) AS passed, (CASE WHEN (at.value::float8 IS
        NULL OR at.value::float8 = job.threshold) THEN new_rows.failed ELSE (SELECT count(*)
        FROM json_array_elements_text(new_rows.scores::json) AS score(value) WHERE
        score.value::float8 < at.value::float8) END) AS failed FROM new_rows JOIN job ON job.id
        = new_rows.job_id CROSS JOIN LATERAL json_array_elements_text((CASE job.cells WHEN '[]'
        THEN '[null]' ELSE job.cells END)::json) AS at(value) WHERE job.cell_count > 0 AND
        ((at.value::float8 IS NULL OR at.value::float8 = job.threshold) OR new_rows.scores IS
        NOT NULL)) AS one (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) GROUP BY run_id, labels, threshold, unanswered, tests_each
        HAVING sum(cells) <> 0 OR sum(ended) <> 0 OR sum(answered) <> 0 OR sum(passed) <> 0 OR
        sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_cell_count(); END IF;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER count_result_update AFTER UPDATE ON result REFERENCING OLD TABLE AS old_rows NEW
    TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_result_update()
""",
    """
CREATE FUNCTION count_job_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count (run_id, lane, cost_class, state, asked, jobs, cells, past_cells,
        dated) SELECT run_id, lane, cost_class, state, asked, sum(jobs), sum(cells),
        sum(past_cells), sum(dated) FROM (SELECT old_rows.run_id, old_rows.lane,
        old_rows.cost_class, old_rows.state, CASE WHEN old_rows.cell_count > 0 THEN 1 ELSE 0
        END, -1, -old_rows.cell_count, -(CASE WHEN old_rows.cell_count = 0 AND
        old_rows.threshold IS NULL THEN 1 WHEN old_rows.past_cells = '[]' THEN 0 ELSE
        json_array_length(old_rows.past_cells::json) END), -(CASE WHEN old_rows.state IN
        ('pending', 'waiting') AND old_rows.due_at > 0 THEN 1 ELSE 0 END) FROM old_rows) AS one
        (run_id, lane, cost_class, state, asked, jobs, cells, past_cells, dated) GROUP BY
        run_id, lane, cost_class, state, asked HAVING sum(jobs) <> 0 OR sum(cells) <> 0 OR
        sum(past_cells) <> 0 OR sum(dated) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_job_count(); END IF;
    INSERT INTO error_count (run_id, state, lane, message, example, jobs) SELECT run_id, state,
        lane, message, min(example), sum(jobs) FROM (SELECT old_rows.run_id, old_rows.state,
        old_rows.lane, replace(coalesce(old_rows.error, ''), coalesce(': ' || old_rows.detail,
        ''), ''), coalesce(old_rows.detail, ''), -1 FROM old_rows WHERE old_rows.state IN
        ('failed', 'waiting') AND old_rows.cell_count > 0) AS one (run_id, state, lane, message,
        example, jobs) GROUP BY run_id, state, lane, message HAVING sum(jobs) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_error_count(); END IF;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT run_id, labels, threshold, unanswered, tests_each,
        sum(cells), sum(ended), sum(answered), sum(passed), sum(failed) FROM (SELECT
        old_rows.run_id AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER
        BY axis.key)::text, '{}') FROM json_each(old_rows.labels::json) AS axis WHERE axis.key
        IN (SELECT field.value FROM run, json_array_elements_text(run.grouped::json) AS
        field(value) WHERE run.id = old_rows.run_id)) AS labels, coalesce(at.value::float8,
        -1e+300) AS threshold, 0 AS unanswered, 0 AS tests_each, -1 AS cells, -(CASE WHEN
        old_rows.state IN ('failed', 'cancelled') THEN 1 ELSE 0 END) AS ended, 0 AS answered, 0
        AS passed, 0 AS failed FROM old_rows CROSS JOIN LATERAL json_array_elements_text((CASE
        old_rows.cells WHEN '[]' THEN '[null]' ELSE old_rows.cells END)::json) AS at(value)
        WHERE old_rows.cell_count > 0) AS one (run_id, labels, threshold, unanswered,
        tests_each, cells, ended, answered, passed, failed) GROUP BY run_id, labels, threshold,
        unanswered, tests_each HAVING sum(cells) <> 0 OR sum(ended) <> 0 OR sum(answered) <> 0
        OR sum(passed) <> 0 OR sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_cell_count(); END IF;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER count_job_delete AFTER DELETE ON job REFERENCING OLD TABLE AS old_rows FOR EACH
    STATEMENT EXECUTE FUNCTION count_job_delete()
""",
    """
CREATE FUNCTION count_result_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO answer_count (run_id, state, cells, threshold, has_scores, unanswered,
        tests_each, jobs, passed, failed) SELECT run_id, state, cells, threshold, has_scores,
        unanswered, tests_each, sum(jobs), sum(passed), sum(failed) FROM (SELECT job.run_id,
        job.state, job.cells, coalesce(job.threshold, -1e+300), CASE WHEN old_rows.scores IS
        NULL THEN 0 ELSE 1 END, coalesce(old_rows.unanswered, ''), CASE WHEN old_rows.unanswered
        IS NULL THEN 0 ELSE old_rows.passed + old_rows.failed END, -1, -old_rows.passed,
        -old_rows.failed FROM old_rows JOIN job ON job.id = old_rows.job_id WHERE job.cell_count
        > 0) AS one (run_id, state, cells, threshold, has_scores, unanswered, tests_each, jobs,
        passed, failed) GROUP BY run_id, state, cells, threshold, has_scores, unanswered,
        tests_each HAVING sum(jobs) <> 0 OR sum(passed) <> 0 OR sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_answer_count(); END IF;
    INSERT INTO cell_count (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) SELECT run_id, labels, threshold, unanswered, tests_each,
        sum(cells), sum(ended), sum(answered), sum(passed), sum(failed) FROM (SELECT job.run_id
        AS run_id, (SELECT coalesce(json_object_agg(axis.key, axis.value ORDER BY
        axis.key)::text, '{}') FROM json_each(job.labels::json) AS axis WHERE axis.key IN
        (SELECT field.value FROM run, json_array_elements_text(run.grouped::json) AS
        field(value) WHERE run.id = job.run_id)) AS labels, coalesce(at.value::float8, -1e+300)
        AS threshold, CASE WHEN old_rows.unanswered IS NULL THEN 0 ELSE (SELECT
        sum(reason.value::integer) FROM json_each_text(old_rows.unanswered::json) AS reason) END
        AS unanswered, CASE WHEN old_rows.unanswered IS NULL THEN 0 ELSE old_rows.passed +
        old_rows.failed END AS tests_each, 0 AS cells, 0 AS ended, -1 AS answered,
        -(old_rows.passed + old_rows.failed - (CASE WHEN (at.value::float8 IS NULL OR
        at.value::float8 = job.threshold) THEN old_rows.failed ELSE (SELECT count(*) FROM
        json_array_elements_text(old_rows.scores::json) AS score(value) WHERE
        score.value::float8 < at.value::float8) END)) AS passed, -(CASE WHEN (at.value::float8
        IS NULL OR at.value::float8 = job.threshold) THEN old_rows.failed ELSE (SELECT count(*)
        FROM json_array_elements_text(old_rows.scores::json) AS score(value) WHERE
        score.value::float8 < at.value::float8) END) AS failed FROM old_rows JOIN job ON job.id
        = old_rows.job_id CROSS JOIN LATERAL json_array_elements_text((CASE job.cells WHEN '[]'
        THEN '[null]' ELSE job.cells END)::json) AS at(value) WHERE job.cell_count > 0 AND
        ((at.value::float8 IS NULL OR at.value::float8 = job.threshold) OR old_rows.scores IS
        NOT NULL)) AS one (run_id, labels, threshold, unanswered, tests_each, cells, ended,
        answered, passed, failed) GROUP BY run_id, labels, threshold, unanswered, tests_each
        HAVING sum(cells) <> 0 OR sum(ended) <> 0 OR sum(answered) <> 0 OR sum(passed) <> 0 OR
        sum(failed) <> 0;
    IF FOUND AND random() < 0.02 THEN PERFORM fold_cell_count(); END IF;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER count_result_delete AFTER DELETE ON result REFERENCING OLD TABLE AS old_rows FOR
    EACH STATEMENT EXECUTE FUNCTION count_result_delete()
""",
)


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    # In runs that exist already, cells are not told apart by their labels.
    op.add_column("run", sa.Column("grouped", sa.Text(), nullable=False, server_default="[]"))
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
    op.get_bind().exec_driver_sql(_FILL_CELLS[op.get_bind().dialect.name])
    for statement in _ON_SQLITE if is_sqlite else _ON_POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in reversed(_ON_SQLITE if is_sqlite else _ON_POSTGRESQL):
        _, kind, name, *_, table = statement.partition(" REFERENCING")[0].split()
        on = f" ON {table}" if kind == "TRIGGER" and not is_sqlite else ""
        op.execute(f"DROP {kind} {name}{on}")
    for table in _COLUMNS:
        op.drop_table(table)
    op.drop_column("run", "grouped")
