"""Add an index that finds the jobs which reuse an answer.

Revision: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_result_reused",
        "result",
        ["reused_from"],
        sqlite_where=sa.text("reused_from IS NOT NULL"),
        postgresql_where=sa.text("reused_from IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_result_reused", "result")
