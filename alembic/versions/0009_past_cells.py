"""Separate cells that only earlier versions of a sweep asked for from those that it asks for now.

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Jobs with an answer that a later version of the sweep does not contain; so far, they counted as asked for.
_LEFT_OUT = """
UPDATE job SET past_cells = cells, cells = '[]', cell_count = 0
WHERE cell_count > 0 AND generation < (
    SELECT run.generation FROM run WHERE run.id = job.run_id AND run.expanded = run.digest
)
"""

# Thresholds that are no longer in the sweep, of jobs that answer other thresholds.
_THRESHOLDS = """
SELECT value FROM json_each(
    (SELECT sweep FROM run WHERE run.id = job.run_id), '$.sweep.matrix.thresholds'
)
UNION ALL
SELECT included.value FROM run, json_each(run.sweep, '$.sweep.include') AS rule,
    json_each(rule.value, '$.thresholds') AS included
WHERE run.id = job.run_id
"""
_REMOVED_THRESHOLDS = f"""
UPDATE job SET
    cells = (SELECT json_group_array(value) FROM json_each(job.cells) WHERE value IN ({_THRESHOLDS})),
    past_cells =
        (SELECT json_group_array(value) FROM json_each(job.cells) WHERE value NOT IN ({_THRESHOLDS})),
    cell_count =
        (SELECT count(*) FROM json_each(job.cells) WHERE value IN ({_THRESHOLDS}))
WHERE cell_count > 0 AND generation > 1
    AND EXISTS (SELECT 1 FROM run WHERE run.id = job.run_id AND run.expanded = run.digest)
    AND EXISTS (SELECT 1 FROM json_each(job.cells) WHERE value NOT IN ({_THRESHOLDS}))
"""  # noqa: S608  # composed of constants


def upgrade() -> None:
    op.add_column("job", sa.Column("past_cells", sa.Text(), nullable=False, server_default="[]"))
    op.execute(_LEFT_OUT)
    op.execute(_REMOVED_THRESHOLDS)


def downgrade() -> None:
    op.drop_column("job", "past_cells")
