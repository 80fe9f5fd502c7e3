"""Keep the order in which the jobs of a run were answered or failed.

Revision: 0022, after 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "settled",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_settled_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_settled")),
        sqlite_autoincrement=True,
    )
    # Earlier versions kept only the times at which jobs ended.
    op.execute(
        """
        INSERT INTO settled (run_id, job_id)
        SELECT job.run_id, job.id FROM job LEFT JOIN result ON result.job_id = job.id
        WHERE job.state IN ('succeeded', 'failed')
        ORDER BY coalesce(result.recorded_at, (
            SELECT max(ended_at) FROM attempt WHERE attempt.job_id = job.id
        ), 0), job.id
        """
    )
    op.create_index("ix_settled_run", "settled", ["run_id"])


def downgrade() -> None:
    op.drop_index("ix_settled_run", table_name="settled")
    op.drop_table("settled")
