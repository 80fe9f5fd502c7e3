"""A run keeps the matrix that was wholly in the queue last, so that an edit is told from it alone.

Revision: 0016, after 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What earlier versions wrote out is compared job by job at its next edit.
    op.add_column("run", sa.Column("layout", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "layout")
