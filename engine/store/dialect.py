"""Statements that SQLite and PostgreSQL write differently."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.sql.selectable import Subquery
from sqlalchemy.types import TypeEngine

Insert: TypeAlias = sqlite.Insert | postgresql.Insert


def insert(connection: Connection, table: Table) -> Insert:
    """An INSERT of the connection's dialect, SQLite's or PostgreSQL's, which supports ON CONFLICT."""
    return _insert(connection.dialect.name, table)


class Upsert:
    """An INSERT with an ON CONFLICT clause, built once for each dialect because it runs often."""

    def __init__(self, table: Table, conflict: Callable[[Insert], Insert]) -> None:
        @lru_cache
        def build(dialect: str) -> Insert:
            return conflict(_insert(dialect, table))

        self._build = build

    def on(self, connection: Connection) -> Insert:
        """The statement in the connection's dialect."""
        return self._build(connection.dialect.name)


class Bulk:
    """One statement for many rows, built once for each dialect.

    The rows are passed as one parameter, a JSON list of lists. With `executemany`, each row would be a separate call
    into the database, after which the writer's thread waits for the interpreter's lock behind the event loop.
    """

    def __init__(
        self, columns: Mapping[str, TypeEngine[Any]], build: Callable[[Subquery], Executable]
    ) -> None:
        self._build = build
        self._statement = lru_cache(lambda dialect: self._on(dialect, _unpack(dialect, columns)))
        self._binary = [
            index for index, type_ in enumerate(columns.values()) if isinstance(type_, LargeBinary)
        ]

    def _on(self, _dialect: str, given: Subquery) -> Executable:
        return self._build(given)

    def run(
        self, connection: Connection, rows: Sequence[Sequence[object]], **shared: object
    ) -> CursorResult[Any]:
        """Run the statement for rows, whose values are in the order of the columns; `shared` apply to all rows."""
        parameters = dict(shared)
        if self._binary:
            rows, parameters["bytes"] = _extract_bytes(rows, self._binary)
        statement = self._statement(connection.dialect.name)
        return connection.execute(statement, {"rows": json.dumps(rows), **parameters})


class BulkUpsert(Bulk):
    """An INSERT of many rows, of some columns of a table, with an ON CONFLICT clause."""

    def __init__(
        self, columns: Sequence[Column[Any]], conflict: Callable[[Insert], Insert]
    ) -> None:
        super().__init__({column.name: column.type for column in columns}, select)
        self._columns = columns
        self._conflict = conflict

    def _on(self, dialect: str, given: Subquery) -> Insert:
        # Without a WHERE clause, SQLite would parse the ON of ON CONFLICT as that of a join.
        rows = select(given).where(true())
        into = _insert(dialect, self._columns[0].table)
        return self._conflict(into.from_select(list(self._columns), rows))


def _extract_bytes(
    rows: Iterable[Sequence[object]], binary: Sequence[int]
) -> tuple[list[list[object]], bytes]:
    """Move byte values, which JSON cannot hold, into one separate value; each is replaced by (start, length)."""
    extracted = bytearray()
    split = []
    for row in rows:
        values = list(row)
        for index in binary:
            content = values[index]
            if isinstance(content, bytes):
                values[index] = (len(extracted) + 1, len(content))
                extracted += content
        split.append(values)
    return split, bytes(extracted)


def _unpack(dialect: str, columns: Mapping[str, TypeEngine[Any]]) -> Subquery:
    """The rows of the parameters `rows` and `bytes` as a subquery."""
    given = bindparam("rows", type_=Text)
    if dialect == "postgresql":
        listed = func.json_array_elements(cast(given, postgresql.JSON))
    else:
        listed = func.json_each(given)
    row = listed.table_valued("value").c.value

    def value(*path: int, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        if dialect == "postgresql":
            place = "{" + ",".join(map(str, path)) + "}"
            return cast(row.op("#>>")(literal_column(f"'{place}'")), type_)
        steps = "".join(f"[{index}]" for index in path)
        return type_coerce(func.json_extract(row, literal_column(f"'${steps}'")), type_)

    def column(index: int, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        if not isinstance(type_, LargeBinary):
            return value(index, type_=type_)
        start, length = (value(index, part, type_=Integer()) for part in (0, 1))
        return func.substr(bindparam("bytes", type_=LargeBinary), start, length)

    return select(
        *(column(index, type_).label(name) for index, (name, type_) in enumerate(columns.items()))
    ).subquery("given")


def _insert(dialect: str, table: Table) -> Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
