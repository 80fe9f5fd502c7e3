"""Keep in the row of a run which of its jobs a command is putting back into the queue.

Revision: 0027, after 0026
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("requeueing", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("run", "requeueing")
