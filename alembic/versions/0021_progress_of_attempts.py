"""Store how far an attempt in flight is, so that other processes can show it.

Revision: 0021, after 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("questions_answered", sa.Integer(), nullable=True))
    op.add_column("attempt", sa.Column("questions", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "questions")
    op.drop_column("attempt", "questions_answered")
