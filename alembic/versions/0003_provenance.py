"""Record what determines the answers with runs and results; find calls across runs.

Revision: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("provenance", sa.Text(), nullable=True))
    op.add_column("result", sa.Column("provenance", sa.Text(), nullable=True))
    op.create_index("ix_call_digest", "call", ["digest"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_call_digest", table_name="call")
    op.drop_column("result", "provenance")
    op.drop_column("run", "provenance")
