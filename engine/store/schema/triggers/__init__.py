"""The triggers that keep the tables of counts; `metadata.create_all` creates them after the tables."""

from sqlalchemy import DDL, event

from engine.store.schema.metadata import metadata
from engine.store.schema.triggers import postgresql, sqlite

for _dialect, _statements in (
    ("sqlite", sqlite.statements()),
    ("postgresql", postgresql.statements()),
):
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(metadata, "after_create", _ddl.execute_if(dialect=_dialect))
