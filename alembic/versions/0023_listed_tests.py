"""Keep the case, the layer and the score of each test that an answer lists.

Revision: 0023, after 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Unknown for earlier answers: reading them again would take hours in a large store.
    op.add_column("result", sa.Column("listing", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("result", "listing")
