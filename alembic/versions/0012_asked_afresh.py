"""Record since when answers and replies count in a run that asks everything again.

Revision: 0012, after 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("fresh_at", sa.Float(), nullable=True))
    op.add_column("run", sa.Column("fresh_generation", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "fresh_generation")
    op.drop_column("run", "fresh_at")
