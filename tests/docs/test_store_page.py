"""docs/reference/store.md: every table and column is documented, every query answers."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from engine import Registry, Row, Sweep, open_engine
from engine.kinds import Answer, Job, Permanent
from engine.store.schema import metadata
from engine.testing import ScriptedService, scored
from tests.docs.pages import blocks
from tests.paths import ROOT
from tests.patience import PATIENCE_S

PAGE = "docs/reference/store.md"


def _script(job: Job) -> Answer | Exception:
    if job.labels["model"] == "broken":
        return Permanent("no such model", detail="ask another service", status=404)
    return scored(0.1, 0.4, 0.8, threshold=job.parameters["threshold"], raw=b'{"scores": 3}')


async def _night(path: Path) -> list[Row]:
    registry = Registry(services={"scripted": ScriptedService(_script)})
    sweep = Sweep.parse(
        {
            "name": "night",
            "service": {"kind": "scripted"},
            "evaluation": "scripted",
            "matrix": {
                "models": ["a", "b", "broken"],
                "prompts": [{"name": "bare", "text": "Be kind."}],
                "thresholds": [0.3, 0.5, 0.9],
            },
            "retry": {"attempts": 1},
        },
        registry=registry,
    )
    async with open_engine(path, registry=registry) as engine:
        run = await engine.submit(sweep)
        await run.execute()
        await engine.store.runs.add_event(None, "lane", "an unknown event")
        await engine.store.attempts.keep_unread(
            1, 1, 1, where="POST x: not JSON", body=b"<html>busy"
        )
        return [row async for row in run.rows()]


def _answered(path: Path, query: str) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        store.row_factory = sqlite3.Row
        return store.execute(query).fetchall()


@pytest.mark.parametrize(("where", "query"), list(blocks("sql", PAGE)))
async def test_every_query_of_the_page_has_an_answer(
    where: str, query: str, tmp_path: Path
) -> None:
    path = tmp_path / "nightsweep.db"
    await _night(path)

    rows = _answered(path, query)

    assert rows, where
    assert None not in tuple(rows[-1])[:2], where


async def test_the_page_s_own_results_are_those_of_the_command(tmp_path: Path) -> None:
    path = tmp_path / "nightsweep.db"
    rows = await _night(path)

    (_, query), *_ = blocks("sql", PAGE)

    assert [tuple(row) for row in _answered(path, query)] == [
        (row.labels["model"], row.labels["threshold"], row.failed, row.total)
        for row in rows
        if row.total is not None
    ]


def test_whole_answers_are_read_as_the_page_says(tmp_path: Path) -> None:
    anyio.run(_night, tmp_path / "nightsweep.db")
    (_, program), _ = blocks("python", PAGE)

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("b'{\"scores\": 3}'") == 2


def test_answers_that_gave_no_reply_are_written_to_files_as_the_page_says(tmp_path: Path) -> None:
    anyio.run(_night, tmp_path / "nightsweep.db")
    _, (_, program) = blocks("python", PAGE)

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "unread-1").read_bytes() == b"<html>busy"


def _rows() -> Iterator[tuple[str, str]]:
    for line in (ROOT / PAGE).read_text().splitlines():
        match line.split("|"):
            case [_, table, _, columns, _] if table.strip().startswith("`"):
                yield table.strip().strip("`"), columns


def test_every_table_and_column_is_documented() -> None:
    documented = dict(_rows())

    assert set(documented) == set(metadata.tables)
    for name, table in metadata.tables.items():
        for column in table.columns:
            assert f"`{column.name}`" in documented[name], f"{name}.{column.name}"
