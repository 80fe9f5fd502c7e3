"""A statement that fails repeats nothing that it was given: prompts, answers, names, keys."""

import logging
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine import NightsweepError, open_engine
from engine.store import Store

PLANTED = "Planted-Value-4k5j6h"

Ask = Callable[[Store], Awaitable[Any]]


@pytest.mark.parametrize(
    ("table", "ask"),
    [
        ("run", lambda store: store.reader.find_run(PLANTED)),
        ("event", lambda store: store.runs.add_event(None, PLANTED, PLANTED)),
        ("document", lambda store: store.reader.documents([PLANTED])),
        ("document", lambda store: store.matrix.add_documents({PLANTED: {"text": PLANTED}})),
    ],
    ids=["a read by name", "a write", "a read of many", "a write of many"],
)
async def test_a_table_that_is_gone_is_named_and_what_was_asked_of_it_is_not_repeated(
    table: str, ask: Ask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sqlalchemy.engine")
    path = tmp_path / "store.db"

    async with open_engine(path) as engine:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"DROP TABLE {table}")
        with pytest.raises(NightsweepError) as caught:
            await ask(engine.store)

    assert f"no such table: {table}" in str(caught.value)
    assert PLANTED not in "".join(traceback.format_exception(caught.value))
    assert "INSERT" in caplog.text
    assert PLANTED not in caplog.text
