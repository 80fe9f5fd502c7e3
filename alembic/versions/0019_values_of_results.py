"""Store further values that a job kind reports for an answer.

Revision: 0019, after 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_HAS_VALUES = sa.text('"values" IS NOT NULL')


def upgrade() -> None:
    op.add_column("result", sa.Column("values", sa.Text(), nullable=True))
    op.create_index(
        "ix_result_values",
        "result",
        ["run_id"],
        sqlite_where=_HAS_VALUES,
        postgresql_where=_HAS_VALUES,
    )


def downgrade() -> None:
    op.drop_index("ix_result_values", "result")
    op.drop_column("result", "values")
