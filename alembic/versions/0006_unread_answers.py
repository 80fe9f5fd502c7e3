"""Keep answers that cannot be read with their attempts.

Revision: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unread",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_unread_run_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_unread_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unread")),
    )
    op.create_index("ix_unread_job", "unread", ["job_id"], unique=False)
    op.create_index("ix_unread_run", "unread", ["run_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_unread_run", table_name="unread")
    op.drop_index("ix_unread_job", table_name="unread")
    op.drop_table("unread")
