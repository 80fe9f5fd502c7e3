"""Make ended workers cheap: index the live ones, and find the idle ones so that they can be removed.

Revision: 0015, after 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker", sa.Column("has_sent", sa.Boolean(), server_default="0", nullable=False))
    op.execute("UPDATE worker SET has_sent = 1 WHERE id IN (SELECT worker FROM attempt)")
    op.create_index("ix_worker_here", "worker", ["id"], sqlite_where=sa.text("ended_at IS NULL"))
    op.create_index(
        "ix_worker_idle",
        "worker",
        ["ended_at"],
        sqlite_where=sa.text("ended_at IS NOT NULL AND NOT has_sent"),
    )
    op.create_index("ix_worker_started", "worker", ["started_at"])
    op.drop_index("ix_job_running", table_name="job")
    op.create_index(
        "ix_job_running", "job", ["owner", "run_id"], sqlite_where=sa.text("owner IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_job_running", table_name="job")
    op.create_index(
        "ix_job_running", "job", ["owner", "run_id"], sqlite_where=sa.text("state = 'running'")
    )
    op.drop_index("ix_worker_started", table_name="worker")
    op.drop_index("ix_worker_idle", table_name="worker")
    op.drop_index("ix_worker_here", table_name="worker")
    op.drop_column("worker", "has_sent")
