"""Record the most that an answer can cost, and hold requests in two months at once.

Revision: 0014, after 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cost", sa.Column("answers", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("cost", sa.Column("bound", sa.Integer(), nullable=True))
    _rebuild("job_id", "fence", "name", "period")


def downgrade() -> None:
    op.execute(
        "DELETE FROM reservation WHERE EXISTS (SELECT 1 FROM reservation AS earlier"
        " WHERE earlier.job_id = reservation.job_id AND earlier.fence = reservation.fence"
        " AND earlier.name = reservation.name AND earlier.period < reservation.period)"
    )
    _rebuild("job_id", "fence", "name")
    op.drop_column("cost", "bound")
    op.drop_column("cost", "answers")


def _rebuild(*key: str) -> None:
    """Recreate the table of reservations with another primary key."""
    op.rename_table("reservation", "reservation_before")
    op.create_table(
        "reservation",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("probe_of", sa.Text(), nullable=True),
        sa.Column("counts_requests", sa.Boolean(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("by_reply", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_reservation_job_id")),
        sa.ForeignKeyConstraint(
            ["name", "period"], ["quota.name", "quota.period"], name="fk_reservation_quota"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_reservation_run_id")),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_reservation")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO reservation (job_id, fence, name, period, run_id, worker, probe_of,"
        " counts_requests, held, by_reply) SELECT job_id, fence, name, period, run_id, worker,"
        " probe_of, counts_requests, held, by_reply FROM reservation_before"
    )
    op.drop_table("reservation_before")
