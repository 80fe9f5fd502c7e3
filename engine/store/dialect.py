"""Statements that run often, and those that SQLite and PostgreSQL write differently."""

import json
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter, methodcaller
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    column,
    func,
    literal_column,
    select,
    true,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import SelectBase, Subquery
from sqlalchemy.types import TypeEngine

T = TypeVar("T")

Insert: TypeAlias = sqlite.Insert | postgresql.Insert
Query: TypeAlias = SelectBase | UpdateBase
Values: TypeAlias = Mapping[str, object]

_UNCONVERTED = (Integer, Float, Text, LargeBinary, Boolean)
"""The types of columns whose values drivers return as they are; a boolean may be 0 or 1."""
_PART = 50
"""The rows that are fetched at a time, where few may be enough."""


def insert(connection: Connection, table: Table) -> Insert:
    """An INSERT of the connection's dialect, SQLite's or PostgreSQL's, which supports ON CONFLICT.

    It is not executed, and not cached; `Upsert` is for statements that run often.
    """
    return _insert(connection.dialect.name, table)


class Statement:
    """A statement that runs often: it is compiled once for each driver, which then executes it.

    For a small statement, what SQLAlchemy does at each execution takes several times as long as what SQLite does.
    """

    def __init__(self, build: Callable[[str], Query]) -> None:
        self._build = build
        self._compiled: dict[object, _Compiled] = {}

    def rows(self, connection: Connection, **values: object) -> list[Any]:
        """Run a query with parameters by name; returns all its rows as named tuples.

        The names are those of the query's columns. Raises the driver's own errors.
        """
        compiled = self._on(connection)
        found = _execute(connection, compiled.text, compiled.arrange(values), _fetch_all)
        return list(map(compiled.make_row, found))

    def first_rows(
        self, connection: Connection, is_enough: Callable[[list[Any]], bool], **values: object
    ) -> list[Any]:
        """Run a query as `rows` does, but stop fetching its rows when `is_enough` says so of the last 50."""
        compiled = self._on(connection)

        def fetch(cursor: Any) -> list[Any]:
            found: list[Any] = []
            while part := list(map(compiled.make_row, cursor.fetchmany(_PART))):
                found += part
                if is_enough(part):
                    break
            return found

        return _execute(connection, compiled.text, compiled.arrange(values), fetch)

    def run(self, connection: Connection, **values: object) -> int:
        """Run a change with parameters by name, within the connection's transaction; returns how many rows it changed.

        Raises the driver's own errors.
        """
        compiled = self._on(connection)
        return _execute(connection, compiled.text, compiled.arrange(values), _count_rows)

    def run_for_each(self, connection: Connection, rows: Sequence[Values]) -> int:
        """Run an INSERT of each of these rows, which have the same columns; returns how many rows it changed.

        There must be at least one row. It runs within the connection's transaction and raises the driver's
        own errors.
        """
        compiled = self._on(connection, tuple(rows[0]))
        values = list(map(compiled.arrange, rows))
        return _execute(connection, compiled.text, values, _count_rows, is_many=True)

    def _on(self, connection: Connection, columns: tuple[str, ...] | None = None) -> "_Compiled":
        dialect = connection.dialect
        key = dialect.name, dialect.driver, columns
        if (compiled := self._compiled.get(key)) is None:
            compiled = _Compiled(self._build(dialect.name), dialect, columns)
            self._compiled[key] = compiled
        return compiled


class _Compiled:
    """A statement as a driver takes it; an INSERT writes these `columns`."""

    def __init__(self, query: Query, dialect: Dialect, columns: Sequence[str] | None) -> None:
        if isinstance(query, SelectBase):
            found = query.exported_columns
            assert all(isinstance(column.type, _UNCONVERTED) for column in found), query
            row: Any = namedtuple("Row", list(found.keys()))  # type: ignore[misc]
            self.make_row = partial(tuple.__new__, row)
        compiled = query.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        required = self._required = {bind.key for bind in compiled.binds.values() if bind.required}
        # Lists of constants become as many parameters.
        expanded = compiled.construct_expanded_state(dict.fromkeys(required))
        self.text = expanded.statement
        self._order = expanded.positiontup
        self._constants = {
            name: value for name, value in expanded.parameters.items() if name not in required
        }

    def arrange(self, values: Values) -> Any:
        """The parameters as the driver takes them, with the constants of the statement."""
        given = {**self._constants, **values}
        if self._order is not None:
            return tuple(map(given.__getitem__, self._order))
        if missing := self._required - given.keys():
            raise KeyError(min(missing))
        return given


_fetch_all: Callable[[Any], list[Any]] = methodcaller("fetchall")
_count_rows: Callable[[Any], int] = attrgetter("rowcount")


def _execute(
    connection: Connection,
    text: str,
    parameters: Any,
    read: Callable[[Any], T],
    *,
    is_many: bool = False,
) -> T:
    """Have the driver execute a statement, and `read` its cursor; errors are raised as those of SQLAlchemy."""
    dialect = connection.dialect
    cursor = connection.connection.cursor()
    try:
        execute = dialect.do_executemany if is_many else dialect.do_execute
        execute(cursor, text, parameters)
        return read(cursor)
    except dialect.loaded_dbapi.Error as error:
        errors = dialect.loaded_dbapi.Error
        # Without the parameters, which hold prompts and model output.
        raise DBAPIError.instance(None, None, error, errors, dialect=dialect) from error
    finally:
        cursor.close()


class Upsert:
    """An INSERT with an ON CONFLICT clause."""

    def __init__(self, table: Table, conflict: Callable[[Insert], Insert]) -> None:
        self._statement = Statement(lambda dialect: conflict(_insert(dialect, table)))

    def run(self, connection: Connection, rows: Sequence[Values]) -> int:
        """Run it for each of these rows, at least one, which have the same columns; returns how many rows it changed.

        It runs within the connection's transaction.
        """
        return self._statement.run_for_each(connection, rows)


class Bulk:
    """One statement for many rows.

    SQLite gets the rows as one parameter, a JSON list of lists, PostgreSQL an array of each column. With
    `executemany`, each row would be a separate call into the database, after which the writer's thread waits for the
    interpreter's lock behind the event loop.
    """

    def __init__(
        self, columns: Mapping[str, TypeEngine[Any]], build: Callable[[Subquery], Query]
    ) -> None:
        self._build = build
        self._statement = Statement(lambda dialect: self._on(dialect, _unpack(dialect, columns)))
        self._types = tuple(columns.values())
        self._binary = [
            index for index, type_ in enumerate(self._types) if isinstance(type_, LargeBinary)
        ]

    def _on(self, _dialect: str, given: Subquery) -> Query:
        return self._build(given)

    def rows(
        self, connection: Connection, rows: Sequence[Sequence[object]], **shared: object
    ) -> list[Any]:
        """Run a query for rows as `run` does; returns the rows that it finds as named tuples."""
        return self._statement.rows(connection, **self._pack(connection, rows), **shared)

    def run(
        self, connection: Connection, rows: Sequence[Sequence[object]], **shared: object
    ) -> int:
        """Run the statement for rows, whose values are in the order of the columns; `shared` apply to all rows.

        Returns how many rows it changed.
        """
        return self._statement.run(connection, **self._pack(connection, rows), **shared)

    def _pack(self, connection: Connection, rows: Sequence[Sequence[object]]) -> dict[str, object]:
        if connection.dialect.name == "postgresql":
            return _to_arrays(rows, self._types)
        if not self._binary:
            return {"rows": json.dumps(rows)}
        rows, extracted = _extract_bytes(rows, self._binary)
        return {"rows": json.dumps(rows), "bytes": extracted}


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
    """The rows of the parameters that `Bulk` passes, as a subquery."""
    if dialect == "postgresql":
        return _unpack_arrays(columns)
    row = func.json_each(bindparam("rows", type_=Text)).table_valued("value").c.value

    def value(*path: int, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        steps = "".join(f"[{index}]" for index in path)
        return type_coerce(func.json_extract(row, literal_column(f"'${steps}'")), type_)

    def one(index: int, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        if not isinstance(type_, LargeBinary):
            return value(index, type_=type_)
        start, length = (value(index, part, type_=Integer()) for part in (0, 1))
        return func.substr(bindparam("bytes", type_=LargeBinary), start, length)

    return select(
        *(one(index, type_).label(name) for index, (name, type_) in enumerate(columns.items()))
    ).subquery("given")


def _unpack_arrays(columns: Mapping[str, TypeEngine[Any]]) -> Subquery:
    types = [BigInteger() if isinstance(one, Integer) else one for one in columns.values()]
    arrays = [
        bindparam(f"column_{index}", type_=postgresql.ARRAY(type_))
        for index, type_ in enumerate(types)
    ]
    named = [column(name, type_) for name, type_ in zip(columns, types, strict=True)]
    rows = func.unnest(*arrays).table_valued(*named, name="unnested").render_derived()
    return select(rows).subquery("given")


_TO_ELEMENT: Mapping[type[TypeEngine[Any]], Callable[[Any], object]] = {
    Integer: int,
    Float: float,
    Text: lambda value: to_text(str(value)),
    LargeBinary: bytes,
    Boolean: bool,
}
"""What makes the elements of an array alike, which psycopg requires."""


def _to_arrays(
    rows: Sequence[Sequence[object]], types: Sequence[TypeEngine[Any]]
) -> dict[str, object]:
    """The columns of rows as parameters for `_unpack_arrays`."""
    found: dict[str, object] = {}
    for index, type_ in enumerate(types):
        [convert] = [made for known, made in _TO_ELEMENT.items() if isinstance(type_, known)]
        values = (row[index] for row in rows)
        found[f"column_{index}"] = [None if one is None else convert(one) for one in values]
    return found


def to_text(value: str) -> str:
    """A text as PostgreSQL can store it: without NUL characters, each of which becomes U+FFFD."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _insert(dialect: str, table: Table) -> Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
