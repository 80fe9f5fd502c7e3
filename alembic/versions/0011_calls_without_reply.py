"""Record the usage of calls that gave no reply.

Revision: 0011, after 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "call_without_reply",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("cost", sa.Float(), nullable=True),
        sa.Column("recorded_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_call_without_reply_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call_without_reply")),
    )
    op.create_index("ix_call_without_reply_run", "call_without_reply", ["run_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_call_without_reply_run", table_name="call_without_reply")
    op.drop_table("call_without_reply")
