"""The first schema.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cost",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("cost_class", sa.Text(), nullable=False),
        sa.Column("tests", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("service", "cost_class", name=op.f("pk_cost")),
    )
    op.create_table(
        "document",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_document")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quota",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("allotted", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("overrun", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("used + reserved <= allotted", name=op.f("ck_quota_kept")),
        sa.CheckConstraint(
            "used >= 0 AND reserved >= 0 AND overrun >= 0", name=op.f("ck_quota_positive")
        ),
        sa.PrimaryKeyConstraint("name", "period", name=op.f("pk_quota")),
    )
    op.create_table(
        "rate_bucket",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("log", sa.Text(), server_default="[]", nullable=False),
        sa.Column("blocked_until", sa.Float(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rate_bucket")),
    )
    op.create_table(
        "run",
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
        sa.CheckConstraint(
            "state IN ('active', 'paused', 'cancelled', 'finished')", name=op.f("ck_run_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("name", name=op.f("uq_run_name")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("heartbeat_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_table(
        "call",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_call_run_id")),
        sa.PrimaryKeyConstraint("run_id", "digest", name=op.f("pk_call")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_event_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index("ix_event_run", "event", ["run_id", "id"], unique=False)
    op.create_table(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("family", sa.LargeBinary(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("cost_class", sa.Text(), nullable=False),
        sa.Column("expected_tests", sa.Integer(), nullable=True),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("documents", sa.Text(), nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("cells", sa.Text(), nullable=False),
        sa.Column("cell_count", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.Float(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'running') = (owner IS NOT NULL)", name=op.f("ck_job_owner")),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_job_state"),
        ),
        sa.CheckConstraint("attempts >= 0 AND fence >= attempts", name=op.f("ck_job_attempts")),
        sa.ForeignKeyConstraint(["owner"], ["worker.id"], name=op.f("fk_job_owner")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_job_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("key", "run_id", name=op.f("uq_job_key")),
    )
    op.create_index(
        "ix_job_claimable",
        "job",
        ["run_id", "lane", "cost_class", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('pending', 'waiting')"),
        postgresql_where=sa.text("state IN ('pending', 'waiting')"),
    )
    op.create_index(
        "ix_job_family",
        "job",
        ["run_id", "family"],
        unique=False,
        sqlite_where=sa.text("family IS NOT NULL"),
        postgresql_where=sa.text("family IS NOT NULL"),
    )
    op.create_index(
        "ix_job_running",
        "job",
        ["owner", "run_id"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("ix_job_state", "job", ["run_id", "state", "lane", "cell_count"], unique=False)
    op.create_table(
        "answer",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_answer_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_answer")),
    )
    op.create_table(
        "attempt",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(outcome = 'sent') = (ended_at IS NULL)", name=op.f("ck_attempt_ended")
        ),
        sa.CheckConstraint(
            "outcome IN ('sent', 'succeeded', 'failed', 'rate_limited', 'refused', 'timed_out', 'interrupted', 'lost')",
            name=op.f("ck_attempt_outcome"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_attempt_job_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_attempt_run_id")),
        sa.PrimaryKeyConstraint("job_id", "fence", name=op.f("pk_attempt")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attempt_sent", "attempt", ["run_id", "sent_at"], unique=False)
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
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_reservation_job_id")),
        sa.ForeignKeyConstraint(
            ["name", "period"], ["quota.name", "quota.period"], name="fk_reservation_quota"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_reservation_run_id")),
        sa.PrimaryKeyConstraint("job_id", "fence", "name", name=op.f("pk_reservation")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "result",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("tests", sa.Integer(), nullable=False),
        sa.Column("scores", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("reused_from", sa.Integer(), nullable=True),
        sa.Column("recorded_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_result_job_id")),
        sa.ForeignKeyConstraint(["reused_from"], ["job.id"], name=op.f("fk_result_reused_from")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_result_run_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_result")),
    )
    op.create_index(
        "ix_result_totals", "result", ["run_id", "passed", "failed", "tests"], unique=False
    )


def downgrade() -> None:
    op.drop_table("result")
    op.drop_table("reservation")
    op.drop_table("attempt")
    op.drop_table("answer")
    op.drop_table("job")
    op.drop_table("event")
    op.drop_table("call")
    op.drop_table("worker")
    op.drop_table("run")
    op.drop_table("rate_bucket")
    op.drop_table("quota")
    op.drop_table("document")
    op.drop_table("cost")
