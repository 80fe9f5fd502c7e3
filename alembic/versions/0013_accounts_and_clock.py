"""Name rates by the key itself, share their limits between processes, and use one clock.

Revision: 0013, after 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("account", sa.Text(), nullable=True))
    op.add_column("rate_bucket", sa.Column("given", sa.Text(), nullable=False, server_default="{}"))
    op.create_table(
        "store_value",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_store_value")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("store_value")
    op.drop_column("rate_bucket", "given")
    op.drop_column("run", "account")
