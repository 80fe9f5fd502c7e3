"""What SQLite and PostgreSQL write differently."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

Insert: TypeAlias = sqlite.Insert | postgresql.Insert


def insert(connection: Connection, table: Table) -> Insert:
    """An INSERT that can say what happens on a conflict."""
    return _insert(connection.dialect.name, table)


class Upsert:
    """An INSERT with its ON CONFLICT clause, built once for each dialect: it is run all the time."""

    def __init__(self, table: Table, conflict: Callable[[Insert], Insert]) -> None:
        @lru_cache
        def build(dialect: str) -> Insert:
            return conflict(_insert(dialect, table))

        self._build = build

    def on(self, connection: Connection) -> Insert:
        """The statement as the connection's database writes it."""
        return self._build(connection.dialect.name)


def _insert(dialect: str, table: Table) -> Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
