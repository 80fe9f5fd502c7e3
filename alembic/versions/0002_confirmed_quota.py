"""Count the cost of requests separately from the figures that the service reports for its quota.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("settled", "unconfirmed"):
        op.add_column("quota", sa.Column(name, sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    for name in ("settled", "unconfirmed"):
        op.drop_column("quota", name)
