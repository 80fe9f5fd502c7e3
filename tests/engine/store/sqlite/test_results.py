"""How SQLite answers what is asked of results, and damaged files."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.core.errors import StoreError
from engine.core.states import State
from engine.store import NewJob, Store, open_store
from engine.store.lookups import ReplyLookups
from engine.store.sqlite.database import SQLiteDatabase
from engine.testing import FakeClock
from tests.engine.store.scenes import (
    NOW,
    grants,
    later_retry,
    new_job,
    rows,
    sqlite_of,
    submit,
    success,
)
from tests.engine.store.test_results import scene
from tests.statements import watched_statements


@pytest.fixture
def plans(store: Store) -> Iterator[Callable[[], list[str]]]:
    """How SQLite finds the rows of each statement that was run since, one line per table."""
    statements: list[tuple[str, Any]] = []

    def remember(text: str, values: Any) -> None:
        if text.startswith(("SELECT", "UPDATE", "DELETE")):
            statements.append((text, values))

    def explain_statements() -> list[str]:
        return [
            detail
            for text, values in statements
            for *_, detail in rows(sqlite_of(store).path, f"EXPLAIN QUERY PLAN {text}", *values)
        ]

    with watched_statements(remember):
        yield explain_statements


def searches(found: list[str], table: str) -> set[str]:
    """The plans that touch a table, without the constants that vary."""
    return {line for line in found if f" {table} " in f"{line} "}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\x5a" * (len(content) - 4096 * 3)
    path.write_bytes(content)


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


async def test_a_database_that_is_damaged_while_it_is_read_is_a_named_error(
    path: Path, clock: FakeClock
) -> None:
    async with open_store(path, clock) as store:
        run = await submit(store, *(new_job(number) for number in range(500)))
    damage(path)

    with pytest.raises(StoreError, match="damaged"):
        async with open_store(path, clock) as store:
            await store.reader.totals(run.id)


async def test_every_call_that_looks_for_its_reply_learns_that_the_database_cannot_be_read(
    path: Path,
) -> None:
    overwrite(path)
    database = SQLiteDatabase(path)
    lookups = ReplyLookups(database)
    errors = []

    async def look_up(digest: bytes) -> None:
        try:
            await lookups.find(1, digest, service=None)
        except StoreError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for digest in (b"a", b"b", b"c"):
            tasks.start_soon(look_up, digest)
    await database.close()

    assert len(errors) == 3


async def test_claiming_and_settling_look_up_jobs_by_their_indexes_only(
    store: Store, plans: Callable[[], list[str]]
) -> None:
    run = await submit(store, *(new_job(number) for number in range(3)))
    [grant] = await grants(store, run)
    await store.queue.settle(success(grant.jobs[0], run))
    await store.queue.settle(later_retry(grant.jobs[1], run, due_at=NOW + 9))

    found = plans()

    assert not [line for line in found if line.startswith("SCAN") and " job" in line], found
    # What was never sent comes from the index in its order; what is due again is sorted, and so are the
    # first few of all classes.
    for conditions in (
        "due_at=? AND (repeat,place)>(?,?) AND (repeat,place)<(?,?)",
        "due_at>? AND due_at<?",
        "due_at>?",
    ):
        assert any(
            f"INDEX ix_job_claimable (run_id=? AND lane=? AND cost_class=? AND {conditions})"
            in line
            for line in found
        ), found
    assert [line for line in found if "TEMP B-TREE" in line] == 2 * ["USE TEMP B-TREE FOR ORDER BY"]


async def test_what_a_scheduler_asks_over_and_over_uses_indexes(
    store: Store, plans: Callable[[], list[str]]
) -> None:
    run_id = await scene(store)
    plans().clear()

    await store.reader.queues(run_id)
    await store.reader.count_peers(run_id)
    await store.reader.has_open_jobs(run_id)
    await store.reader.totals(run_id)
    await store.worker.reclaim_from_dead(attempts=6)
    await store.reader.observe(run_id)

    found = plans()
    assert not [line for line in found if line.startswith(("SCAN job", "SCAN attempt"))], found
    assert any("(run_id=? AND (lane,cost_class)>(?,?))" in line for line in found), found
    assert any("USING INDEX ix_job_running" in line or "ix_job_running" in line for line in found)
    assert any("COVERING INDEX ix_job_state (run_id=?" in line for line in found), found
    assert any("INDEX ix_attempt_sent (run_id=? AND sent_at>?" in line for line in found), found


async def test_a_few_jobs_in_a_state_are_looked_up_by_it(
    store: Store, plans: Callable[[], list[str]]
) -> None:
    run = await submit(store, *(new_job(number) for number in range(3)))
    plans().clear()

    found = [one.info.id async for one in store.inspection.jobs(run, [State.PENDING])]

    assert len(found) == 3
    used = searches(plans(), "job")
    assert not [line for line in used if "ix_job_place" in line], used
    assert "SEARCH job USING INDEX ix_job_state (run_id=? AND state=?)" in used
    assert "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)" in used


_LARGE = (
    ("job", "ix_job_state", "1000000 1000000 500000 50000 50000"),
    ("job", "ix_job_place", "1000000 1000000 1 1"),
    ("job", "ix_job_claimable", "500000 500000 50000 5000 5000 1 1"),
    ("job", "sqlite_autoindex_job_1", "1000000 1 1"),
    ("result", "ix_result_totals", "1000000 1000000 1000 100 100"),
    ("event", "ix_event_run", "100000 100000 1"),
)
"""What ANALYZE says of one run of a million jobs."""


@pytest.mark.parametrize("statistics", ["none", "those of a small store", "those of a large run"])
async def test_what_is_read_or_changed_in_parts_of_a_run_never_reads_all_of_it_for_each_part(
    store: Store, plans: Callable[[], list[str]], statistics: str
) -> None:
    run_id = await scene(store)
    run = await store.reader.find_run(None)
    assert run is not None
    if statistics != "none":
        with closing(sqlite3.connect(sqlite_of(store).path)) as connection, connection:
            connection.execute("ANALYZE")
            if statistics == "those of a large run":
                connection.execute("DELETE FROM sqlite_stat1")
                connection.executemany("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", _LARGE)

    before = len(plans())

    assert [row async for row in store.reader.job_rows(run)]
    assert [row async for row in store.reader.job_rows(run, past=True)]
    pages = plans()[before:]
    [answered] = [job async for job, _ in store.reader.answers_of_jobs(run, [1, 2])]
    of_jobs = plans()[before + len(pages) :]
    await store.inspection.latest_events(run_id)
    await store.queue.cancel(run_id)
    await store.queue.requeue(run_id, State)
    found = plans()[before:]

    paged = "SEARCH job USING INDEX ix_job_place (run_id=? AND (place,repeat)>(?,?))"
    assert [line for line in pages if " job " in line][-2:] == [paged, paged]
    assert answered.id == 1
    assert searches(of_jobs, "job") == {"SEARCH job USING INTEGER PRIMARY KEY (rowid=?)"}
    assert searches(pages, "attempt") == {"SEARCH attempt USING PRIMARY KEY (job_id=?)"}
    assert not [line for line in found if line.startswith("SCAN job")], found
    assert not [line for line in found if "TEMP B-TREE FOR ORDER BY" in line], found
    # Parts are looked up by their ids.
    changed = [line for line in found if " job USING " in line and "ix_job" not in line]
    assert {line.split(" USING ")[1] for line in changed} == {"INTEGER PRIMARY KEY (rowid=?)"}
    assert "SEARCH event USING INDEX ix_event_run (run_id=?)" in found


async def test_a_status_reads_kept_counts_and_no_index_of_all_jobs_or_answers(
    store: Store, plans: Callable[[], list[str]]
) -> None:
    run_id = await scene(store)
    before = len(plans())

    await store.reader.totals(run_id)
    await store.reader.runs()
    counted = plans()[before:]
    await store.reader.answers_from_other_runs(run_id)
    reused = plans()[before + len(counted) :]

    assert not searches(counted, "result")
    # Beside the jobs in flight, the first claimable job of each class, and the first that is not due yet.
    of_class = "ix_job_claimable (run_id=? AND lane=? AND cost_class=?"
    assert searches(counted, "job") == {
        f"SEARCH job USING INDEX {of_class})",
        f"SEARCH job USING INDEX {of_class} AND due_at>?)",
        "SEARCH job USING INDEX ix_job_state (run_id=? AND state=?)",
    }
    assert searches(reused, "result") == {
        "SEARCH result USING INDEX ix_result_reused (reused_from>?)"
    }


async def test_changing_a_sweep_looks_families_up_by_their_index(
    store: Store, plans: Callable[[], list[str]]
) -> None:
    def jobs(*cells: float) -> list[NewJob]:
        return [new_job(n, max(cells), cells) for n in range(50)]

    await submit(store, *jobs(0.3))

    await submit(store, *jobs(0.3, 0.7), sweep="second")

    assert any("INDEX ix_job_family (run_id=? AND family=?)" in line for line in plans()), plans()
