"""Record the place of jobs in the file, to claim them in that order, repeat by repeat.

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CLAIMABLE = sa.text("state IN ('pending', 'waiting')")


def upgrade() -> None:
    op.add_column("job", sa.Column("place", sa.Integer(), nullable=False, server_default="0"))
    # Jobs were written in the order of the file, with the repeats of a cell next to each other.
    op.execute(
        "UPDATE job SET place = ordered.place FROM ("
        "SELECT id, row_number() OVER (PARTITION BY run_id, repeat ORDER BY id)"
        " - (generation - 1) * 1099511627776 AS place FROM job"
        ") AS ordered WHERE ordered.id = job.id"
    )
    op.drop_index("ix_job_claimable", "job")
    op.create_index(
        "ix_job_claimable",
        "job",
        ["run_id", "lane", "cost_class", "due_at", "repeat", "place"],
        sqlite_where=CLAIMABLE,
        postgresql_where=CLAIMABLE,
    )
    op.create_index("ix_job_place", "job", ["run_id", "place", "repeat"])


def downgrade() -> None:
    op.drop_index("ix_job_place", "job")
    op.drop_index("ix_job_claimable", "job")
    op.create_index(
        "ix_job_claimable",
        "job",
        ["run_id", "lane", "cost_class", "due_at", "id"],
        sqlite_where=CLAIMABLE,
        postgresql_where=CLAIMABLE,
    )
    op.drop_column("job", "place")
