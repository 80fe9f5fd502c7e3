"""Read the settled jobs of a run in their order from an index.

Revision: 0025, after 0024
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite appends the id to an index by itself, PostgreSQL does not.
    op.drop_index("ix_settled_run", table_name="settled")
    op.create_index("ix_settled_run", "settled", ["run_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_settled_run", table_name="settled")
    op.create_index("ix_settled_run", "settled", ["run_id"])
