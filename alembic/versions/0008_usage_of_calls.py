"""Record the receiver and the usage of each call.

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COLUMNS = {
    "role": sa.Text(),
    "endpoint": sa.Text(),
    "model": sa.Text(),
    "input_tokens": sa.Integer(),
    "output_tokens": sa.Integer(),
    "cost": sa.Float(),
}


def upgrade() -> None:
    for name, kind in _COLUMNS.items():
        op.add_column("call", sa.Column(name, kind, nullable=True))
    op.create_index("ix_call_usage", "call", ["run_id", *_COLUMNS], unique=False)


def downgrade() -> None:
    op.drop_index("ix_call_usage", table_name="call")
    for name in reversed(_COLUMNS):
        op.drop_column("call", name)
