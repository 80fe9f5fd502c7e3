"""What SQLite and PostgreSQL write differently."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Executable,
    Table,
    Text,
    bindparam,
    cast,
    func,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql.selectable import Subquery
from sqlalchemy.types import TypeEngine

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


class Bulk:
    """One statement for many rows, built once for each dialect.

    The rows are handed over as one value, a JSON list of lists. Given one by one, each is a call into
    the database of its own, after which the writer's thread waits for its turn behind the event loop.
    """

    def __init__(
        self, columns: Mapping[str, TypeEngine[Any]], build: Callable[[Subquery], Executable]
    ) -> None:
        @lru_cache
        def build_for(dialect: str) -> Executable:
            return build(_unpacked(dialect, columns))

        self._build = build_for

    def run(
        self, connection: Connection, rows: Sequence[Sequence[object]], **shared: object
    ) -> None:
        """Run it for rows of values in the order of the columns; `shared` are parameters for all."""
        statement = self._build(connection.dialect.name)
        connection.execute(statement, {"rows": json.dumps(rows), **shared})


def _unpacked(dialect: str, columns: Mapping[str, TypeEngine[Any]]) -> Subquery:
    """The rows in the parameter `rows` as a table."""
    given = bindparam("rows", type_=Text)
    if dialect == "postgresql":
        listed = func.json_array_elements(cast(given, postgresql.JSON))
    else:
        listed = func.json_each(given)
    row = listed.table_valued("value").c.value

    def value(index: int, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        if dialect == "postgresql":
            return cast(row.op("->>")(index), type_)
        return type_coerce(func.json_extract(row, f"$[{index}]"), type_)

    return select(
        *(value(index, type_).label(name) for index, (name, type_) in enumerate(columns.items()))
    ).subquery("given")


def _insert(dialect: str, table: Table) -> Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
