"""The rows of workers that have gone: none of what is asked again and again looks at them, and they go."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from engine.clock import SystemClock
from engine.store import open_store
from engine.store.schema import worker
from engine.store.sqlite.liveness import WorkerLock, workers_folder
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import begin, claim, new_job, rows, submit
from tests.statements import watched_statements

MANY = 300


def insert_ended(count: int, **more: object) -> Callable[[Connection], Any]:
    """Insert rows of workers that ended one after the other."""
    return lambda connection: connection.execute(
        worker.insert(),
        [
            {
                "id": f"gone {number}",
                "host": "here",
                "pid": 1,
                "started_at": number,
                "heartbeat_at": number,
                "ended_at": number,
                **more,
            }
            for number in range(count)
        ],
    )


def ids(scratch: Scratch) -> set[str]:
    return {name for (name,) in scratch.rows("SELECT id FROM worker WHERE ended_at IS NOT NULL")}


async def test_those_that_sent_nothing_are_forgotten_with_heartbeats_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: Scratch
) -> None:
    monkeypatch.setattr("engine.store.worker._MAX_REMOVED", MANY // 2)
    path = tmp_path / "store.db"
    left = []

    async with open_store(path, SystemClock()) as store:
        await store.worker.writer.write(insert_ended(MANY))
        for _ in range(3):
            await store.worker.record_heartbeat()
            left.append(len(ids(scratch)))

    assert left == [MANY // 2, 0, 0]


async def test_those_that_attempts_tell_of_stay_and_so_does_one_that_may_come_back(
    tmp_path: Path, scratch: Scratch
) -> None:
    path = tmp_path / "store.db"
    async with open_store(path, SystemClock()) as store:
        run = await submit(store, new_job("one"))
        await claim(store, run)
        sender = store.worker_id

    stopped = WorkerLock(workers_folder(path))
    try:
        async with open_store(path, SystemClock()) as store:
            await store.worker.writer.write(insert_ended(1, id=stopped.id))
            await store.worker.writer.write(insert_ended(3))
            await store.worker.record_heartbeat()
            found = ids(scratch)
            await begin(store)
    finally:
        stopped.release()

    assert found == {sender, stopped.id}


async def statements_of(ask: Callable[[], Any]) -> list[tuple[str, Any]]:
    """The statements that readers execute for a question, with their parameters."""
    statements: list[tuple[str, Any]] = []

    with watched_statements(lambda statement, values: statements.append((statement, values))):
        await ask()

    return [one for one in statements if "worker" in one[0]]


async def test_what_is_asked_every_second_looks_at_none_that_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(path, SystemClock()) as store:
        run = await submit(store, new_job("one"))
        questions = (
            lambda: store.reader.observe(run.id),
            lambda: store.reader.find_workers_on(run.id),
            lambda: store.reader.count_peers(run.id),
        )
        plans = []
        for ask in questions:
            for statement, parameters in await statements_of(ask):
                explained = rows(path, f"EXPLAIN QUERY PLAN {statement}", *parameters)
                plans += [str(line[3]) for line in explained]

    walks = [
        line for line in plans if re.match(r"SCAN worker(?! USING INDEX ix_worker_here)", line)
    ]
    assert plans
    assert walks == []


async def test_a_worker_is_removed_without_a_walk_through_all_jobs(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(path, SystemClock()):
        pass

    # What the foreign key asks for each worker that is removed.
    [plan] = rows(path, "EXPLAIN QUERY PLAN SELECT 1 FROM job WHERE owner = ?", "gone")

    assert "USING COVERING INDEX ix_job_running (owner=?)" in plan[3]
