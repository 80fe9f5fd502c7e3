"""A store's file after a deletion: its space, its rows after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from engine.clock import SystemClock
from engine.core.runs import RunState
from engine.store import open_store
from engine.store.sqlite.space import give_back
from tests.engine.store.scenes import new_job, rows
from tests.engine.store.sqlite.test_location import modes_in
from tests.engine.store.test_deletion import submit_answered
from tests.paths import ROOT


def size_of(path: Path) -> int:
    return path.stat().st_size


async def test_pruning_gives_the_space_back(path: Path) -> None:
    async with open_store(path, SystemClock()) as store:
        first = await submit_answered(
            store, *map(new_job, range(50)), name="first", raw=os.urandom(50_000)
        )
        await submit_answered(store, new_job("kept"), name="second")
        deleted = await store.removal.delete_run(first, [])
        # With the pages that only the log holds so far.
        [(pages,)] = rows(path, "PRAGMA page_count")

        pruned = await store.removal.prune()

        assert 50 * 50_000 < deleted.bytes <= pages * 4096
        assert pruned.compacted
        assert pruned.bytes >= deleted.bytes
        assert size_of(path) < 1_000_000
        await submit_answered(store, new_job("new"), name="third")
    assert modes_in(path.parent)[path.name] == 0o600
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT count(*) FROM answer") == [(2,)]


async def test_workers_that_have_gone_and_sent_nothing_are_forgotten(path: Path) -> None:
    for name in ("first", None):
        async with open_store(path, SystemClock()) as store:
            await store.worker.record_heartbeat()
            if name is not None:
                await submit_answered(store, new_job("one"), name=name)
    async with open_store(path, SystemClock()) as store:
        assert (await store.removal.prune()).workers == 1

    assert rows(path, "SELECT count(*) FROM worker") == [(2,)]


async def test_a_worker_that_was_given_up_while_it_was_stopped_stays(path: Path) -> None:
    async with open_store(path, SystemClock()) as store, open_store(path, SystemClock()) as stopped:
        await stopped.worker.record_heartbeat()
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE worker SET ended_at = 1 WHERE id = ?", (stopped.worker_id,))

        assert (await store.removal.prune()).workers == 0

        assert rows(path, "SELECT id FROM worker WHERE ended_at = 1") == [(stopped.worker_id,)]


def test_a_file_that_cannot_be_rewritten_stays_as_it_was(tmp_path: Path) -> None:
    printed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", WITHOUT_ROOM, str(tmp_path / "store.db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "StoreError" in printed.stdout
    assert rows(tmp_path / "store.db", "PRAGMA integrity_check") == [("ok",)]
    assert rows(tmp_path / "store.db", "SELECT count(*) FROM answer") == [(50,)]
    assert give_back(tmp_path / "store.db") >= 0


SCENE = """
import os, resource, signal, sys
from pathlib import Path
import anyio
from engine.clock import SystemClock
from engine.core.errors import StoreError
from engine.store import open_store
from engine.store.queries import deletion
from engine.store.sqlite.space import give_back
from tests.engine.store.scenes import new_job
from tests.engine.store.test_deletion import submit_answered

async def scene(path):
    async with open_store(path, SystemClock()) as store:
        run = await submit_answered(store, *map(new_job, range(50)), name="first", raw=os.urandom(50_000))
"""
WITHOUT_ROOM = (
    SCENE
    + """
path = Path(sys.argv[1])
anyio.run(scene, path)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    give_back(path)
except StoreError as error:
    print("StoreError", error)
"""
)
KILLED = (
    SCENE
    + """
        def die(connection):
            deletion.remove_part(connection, run, [], now=0.0)
            os.kill(os.getpid(), signal.SIGKILL)

        if sys.argv[2] == "within a part":
            await store.worker.writer.write(die)
        deletion.PART_BYTES = 500_000
        await store.removal.delete_run(run, [], on_progress=lambda gone: os.kill(os.getpid(), signal.SIGKILL))

anyio.run(scene, Path(sys.argv[1]))
"""
)


async def delete_again(place: Path) -> int:
    """Delete what is left of the first run; how many answers that were."""
    async with open_store(place, SystemClock()) as store:
        found = await store.reader.find_run("first")
        assert found is not None
        return (await store.removal.delete_run(found, [])).answers


@pytest.mark.parametrize(
    ("when", "state", "some_are_gone"),
    [
        ("within a part", RunState.FINISHED, False),
        ("between two parts", RunState.DELETING, True),
    ],
)
def test_a_run_whose_deletion_was_killed_is_whole_or_says_that_it_is_being_deleted(
    tmp_path: Path, when: str, state: RunState, some_are_gone: bool
) -> None:
    path = tmp_path / "store.db"

    killed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", KILLED, str(path), when], cwd=ROOT, check=False, capture_output=True
    )

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT state FROM run") == [(state,)]
    [(answers,)] = rows(path, "SELECT count(*) FROM answer")
    assert answers < 50 if some_are_gone else answers == 50
    assert rows(path, "SELECT count(*) FROM job") == [(answers,)]
    assert anyio.run(delete_again, path) == answers
    assert rows(path, "SELECT count(*) FROM run") == [(0,)]
