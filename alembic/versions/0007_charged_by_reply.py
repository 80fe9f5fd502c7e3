"""Charge tests when their replies are stored, and record what a job was charged.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("charged", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "reservation", sa.Column("by_reply", sa.Boolean(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("reservation", "by_reply")
    op.drop_column("job", "charged")
