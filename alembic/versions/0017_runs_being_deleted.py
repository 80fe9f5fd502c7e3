"""Mark runs that are being deleted, because a large one is deleted in many transactions.

Revision: 0017, after 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_BEFORE = ("active", "paused", "cancelled", "finished")
_AFTER = (*_BEFORE, "deleting")


def _rebuild(states: tuple[str, ...]) -> None:
    """Recreate the table with other states, because SQLite cannot change the CHECK of a table."""
    is_one = f"state IN ({', '.join(map(repr, states))})"
    table = sa.Table(
        "run",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("evaluation", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("sweep", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("expanded", sa.Text(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("resume_at", sa.Float(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("provenance", sa.Text(), nullable=True),
        sa.Column("fresh_at", sa.Float(), nullable=True),
        sa.Column("fresh_generation", sa.Integer(), nullable=True),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("layout", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    # Alembic keeps a table's constraints in a set, whose order varies; these are given in order.
    ordered = (
        sa.CheckConstraint(is_one, name=op.f("ck_run_state")),
        sa.UniqueConstraint("name", name=op.f("uq_run_name")),
    )
    with op.batch_alter_table("run", recreate="always", copy_from=table, table_args=ordered):
        pass


def upgrade() -> None:
    _rebuild(_AFTER)


def downgrade() -> None:
    op.execute("UPDATE run SET state = 'cancelled' WHERE state = 'deleting'")
    _rebuild(_BEFORE)
