"""Record whether the service named the time until which a rate row is blocked.

Revision: 0020, after 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "rate_bucket",
        sa.Column("has_retry_after", sa.Boolean(), server_default="1", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("rate_bucket", "has_retry_after")
