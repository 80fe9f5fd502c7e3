"""Keep the last matrix that was fully queued, so that an edit can be computed from it.

Revision: 0016, after 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Runs of earlier versions have no layout; they are compared job by job at their next edit.
    op.add_column("run", sa.Column("layout", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "layout")
