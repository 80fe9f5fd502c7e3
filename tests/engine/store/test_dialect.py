"""Statements that are compiled once, and those that carry many rows in one value."""

import sqlite3
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from engine.core.addresses import ServerAddress
from engine.store.dialect import Bulk, BulkUpsert, Statement, _Compiled
from engine.store.postgres.connections import open_writer
from tests.postgres import make_database

KEPT = Table(
    "kept",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("text", Text),
    Column("number", Float),
    Column("bytes", LargeBinary),
)
COLUMNS = {column.name: column.type for column in KEPT.c}
KEEP = Bulk(COLUMNS, lambda given: KEPT.insert().from_select(list(KEPT.c), select(given)))
RENAME = BulkUpsert(
    (KEPT.c.id, KEPT.c.text),
    lambda statement: statement.on_conflict_do_update(
        index_elements=["id"], set_={"text": statement.excluded.text}
    ),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "sqlite":
        opened = create_engine("sqlite://")
    else:
        opened = open_writer(ServerAddress(make_database()), lambda _: None)
    yield opened
    opened.dispose()


def test_what_is_handed_over_in_one_value_arrives_as_it_was(database: Engine) -> None:
    chance = Random(20261121)
    rows = [
        (1, "plain", 0.1, b"\x00\xff"),
        (2, "quotes \" ' and \\ and \n and [1, {", 1e-300, None),
        (3, "ünïcödé 🌙 \u202e", 1.7e9 + 1e-6, b""),
        (4, None, None, b"[1, 2]"),
        (5, "", 0.0, b""),
        *(
            (number, str(number), 1.7e9 + chance.random() * 1e8, chance.randbytes(number % 40))
            for number in range(6, 200)
        ),
    ]

    with database.begin() as connection:
        KEPT.create(connection)
        KEEP.run(connection, rows)
        kept = connection.execute(select(KEPT).order_by(KEPT.c.id)).all()

    assert [tuple(row) for row in kept] == rows


def test_rows_that_are_there_already_are_changed_and_the_rest_of_them_stays(
    database: Engine,
) -> None:
    with database.begin() as connection:
        KEPT.create(connection)
        KEEP.run(connection, [(2, "two", 2.0, b"2")])
        RENAME.run(connection, [(1, "one"), (2, "another")])
        kept = connection.execute(select(KEPT).order_by(KEPT.c.id)).all()

    assert [tuple(row) for row in kept] == [(1, "one", None, None), (2, "another", 2.0, b"2")]


def test_postgresql_keeps_a_text_without_the_character_that_it_cannot_store() -> None:
    database = open_writer(ServerAddress(make_database()), lambda _: None)

    with database.begin() as connection:
        KEPT.create(connection)
        KEEP.run(connection, [(1, "one\0", None, b"\0")])
        connection.execute(KEPT.insert(), {"id": 2, "text": "\0two"})
        kept = connection.execute(select(KEPT).order_by(KEPT.c.id)).all()

    assert [tuple(row) for row in kept] == [
        (1, "one\N{REPLACEMENT CHARACTER}", None, b"\0"),
        (2, "\N{REPLACEMENT CHARACTER}two", None, None),
    ]
    database.dispose()


def test_rows_have_the_names_of_their_columns_and_a_parameter_must_not_be_missing(
    database: Engine,
) -> None:
    found = Statement(
        lambda _: select(KEPT.c.id, KEPT.c.text).where(
            KEPT.c.number > bindparam("above"), KEPT.c.text.in_(["one", "two"])
        )
    )

    with database.begin() as connection:
        KEPT.create(connection)
        KEEP.run(connection, [(1, "one", 1.0, None), (2, "two", 2.0, None), (3, "x", 3.0, None)])
        [row] = found.rows(connection, above=1.5)
        with pytest.raises(KeyError, match="above"):
            found.rows(connection)

    assert (row.id, row.text) == (2, "two")


def test_only_the_first_rows_are_fetched_where_they_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.store.dialect._PART", 2)
    database = create_engine("sqlite://")
    found = Statement(lambda _: select(KEPT.c.id).order_by(KEPT.c.id))
    parts: list[list[int]] = []

    def is_enough(part: list[Any]) -> bool:
        parts.append([row.id for row in part])
        return 3 in parts[-1]

    with database.begin() as connection:
        KEPT.create(connection)
        KEEP.run(connection, [(number, "x", 1.0, None) for number in range(1, 8)])
        first = found.first_rows(connection, is_enough)
        whole = found.first_rows(connection, lambda _: False)

    assert parts == [[1, 2], [3, 4]]
    assert [row.id for row in first] == [1, 2, 3, 4]
    assert [row.id for row in whole] == list(range(1, 8))
    database.dispose()


def test_an_error_in_a_query_is_one_of_sqlalchemy_and_does_not_quote_values() -> None:
    database = create_engine("sqlite://")
    found = Statement(lambda _: select(KEPT.c.id).where(KEPT.c.text == bindparam("wanted")))

    with (
        database.begin() as connection,
        pytest.raises(OperationalError, match="no such table: kept") as raised,
    ):
        found.rows(connection, wanted="a secret")

    assert "a secret" not in str(raised.value)
    assert isinstance(raised.value.orig, sqlite3.OperationalError)
    database.dispose()


def test_a_statement_is_compiled_for_each_driver_as_it_takes_parameters() -> None:
    query = select(KEPT.c.id).where(KEPT.c.number > bindparam("above"), KEPT.c.text.in_(["one"]))

    on_sqlite = _Compiled(query, sqlite.dialect(), None)
    on_postgresql = _Compiled(query, postgresql.dialect(), None)  # type: ignore[no-untyped-call]

    assert on_sqlite.arrange({"above": 1.5}) == (1.5, "one")
    assert on_postgresql.arrange({"above": 1.5}) == {"above": 1.5, "text_1_1": "one"}
    assert "%(text_1_1)s" in on_postgresql.text
