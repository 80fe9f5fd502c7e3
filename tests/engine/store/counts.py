"""Compares the kept counts of a store with a recount."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine

from engine.store.queries import counts
from engine.store.queries.counts import WrongCount
from engine.store.schema import HEAD, metadata


def find_wrong_counts(path: Path) -> list[WrongCount]:
    """The kept counts of a store that differ from a recount; none if there is no whole store of this version."""
    if not _is_current(path):
        return []
    database = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    try:
        with database.connect() as connection:
            return counts.find_wrong(connection)
    finally:
        database.dispose()


def _is_current(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            version = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            return version == [(HEAD,)] and metadata.tables.keys() <= tables
    except sqlite3.DatabaseError:
        return False
