"""JSON in columns of text, as SQLite and PostgreSQL look into it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    FromClause,
    LargeBinary,
    Text,
    case,
    cast,
    func,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from engine.core.values import ValueType

_TYPES: Mapping[str, ValueType] = {
    "integer": int,
    "real": float,
    "text": str,
    "string": str,
    "true": bool,
    "false": bool,
    "boolean": bool,
}
"""The types of values by their names in both databases."""


@dataclass(frozen=True, slots=True)
class Elements:
    """The elements of a list, one to a row."""

    table: FromClause
    value: ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of an object, one to a row."""

    table: FromClause
    key: ColumnElement[str]
    value: ColumnElement[Any]
    """A number, text or boolean."""
    type_name: ColumnElement[str]
    """The name of the value's type, for `type_of`."""


def numbers_in(connection: Connection, source: ColumnElement[Any]) -> Elements:
    """The elements of a list of numbers."""
    if _is_postgresql(connection):
        listed = func.json_array_elements_text(_parse(source, JSON))
        table = listed.table_valued("value", name="element").render_derived()
        return Elements(table, cast(table.c.value, Float))
    table = func.json_each(source).table_valued("value")
    return Elements(table, table.c.value)


def texts_of(connection: Connection, source: ColumnElement[Any]) -> Elements:
    """The values of an object of texts; null for those that are null."""
    if _is_postgresql(connection):
        listed = func.json_each_text(_parse(source, JSON))
        table = listed.table_valued("key", "value", name="entry").render_derived()
    else:
        table = func.json_each(source).table_valued("value")
    return Elements(table, table.c.value)


def entries_of(connection: Connection, source: ColumnElement[Any], name: str) -> Entries:
    """The entries of an object; `name` is that of the table in the statement."""
    if not _is_postgresql(connection):
        table = func.json_each(source).table_valued("key", "value", "type", name=name)
        return Entries(table, table.c.key, table.c.value, table.c.type)
    table = func.jsonb_each(_parse(source, JSONB)).table_valued("key", "value", name=name)
    table = table.render_derived()
    # A number with a point or an exponent is a real one, as in SQLite.
    is_real = cast(table.c.value, Text).regexp_match("[.eE]")
    kind = func.jsonb_typeof(table.c.value)
    number = case((is_real, "real"), else_="integer")
    return Entries(table, table.c.key, table.c.value, case((kind == "number", number), else_=kind))


def type_of(type_name: str) -> ValueType:
    """The type of a value, by its name in the database."""
    return _TYPES[type_name]


class _Either(ColumnElement[Any]):
    """One expression for SQLite and another for PostgreSQL; which one is used is decided when it is compiled."""

    inherit_cache = False

    def __init__(self, sqlite: ColumnElement[Any], postgresql: ColumnElement[Any]) -> None:
        self.type = sqlite.type
        self.by_dialect = {"sqlite": sqlite, "postgresql": postgresql}


@compiles(_Either)
def _compile_either(element: _Either, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.process(element.by_dialect[compiler.dialect.name].self_group(), **options))


def text_of(source: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """The value of an object under a name, which must have no quotes; null if it has none."""
    return _Either(func.json_extract(source, f'$."{name}"'), _parse(source, JSON)[name].astext)


def length_of(source: ColumnElement[Any]) -> ColumnElement[int]:
    """The number of elements of a list."""
    return _Either(func.json_array_length(source), func.json_array_length(_parse(source, JSON)))


def is_number(source: ColumnElement[Any], name: str, number: float) -> ColumnElement[bool]:
    """Whether the value of an object under a name is this number, however either is written."""
    value = _parse(source, JSON)[name]
    as_number = case((func.json_typeof(value) == "number", cast(value.astext, Float)))
    return _Either(func.json_extract(source, f'$."{name}"') == number, as_number == number)


def has_other_than_ascii(source: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a text has characters outside ASCII."""
    return func.length(source) != _Either(
        func.length(cast(source, LargeBinary)), func.octet_length(source)
    )


def _parse(source: ColumnElement[Any], type_: type[JSON]) -> ColumnElement[Any]:
    """A text as JSON of PostgreSQL, which has no NUL characters, also not escaped ones."""
    return cast(func.replace(source, r"\u0000", r"\ufffd"), type_)


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
