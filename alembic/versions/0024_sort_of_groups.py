"""Tell the axes of groups of stored sweeps from others.

Revision: 0024, after 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_REPLACE = sa.text("""
UPDATE run SET sweep = json_set(run.sweep, found.path, :new)
FROM (
    SELECT run.id, axis.fullkey || '.sort' AS path
    FROM run, json_each(run.sweep, '$.sweep.facts.axes') AS axis
    WHERE json_extract(axis.value, '$.name') = 'groups'
        AND json_extract(axis.value, '$.sort') = :old
) AS found
WHERE found.id = run.id
""")


def upgrade() -> None:
    # So far they counted as texts, and equal names of cases in different groups as one case.
    op.execute(_REPLACE.bindparams(old="text", new="group"))


def downgrade() -> None:
    op.execute(_REPLACE.bindparams(old="group", new="text"))
