"""Looking while something is wrong: the store is held, full, not ours to write, or of another version."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from engine import Engine, NightsweepError, StoreError, UsageError, open_engine
from engine.store.sqlite.database import SQLiteDatabase
from engine.store.sqlite.source import ChangedMeanwhile, Source
from engine.testing import ScriptedService
from tests.engine.scenes import finished, good, opened, registry, sweep
from tests.engine.store.scenes import downgrade
from tests.paths import ROOT
from tests.patience import PATIENCE_S, next_line

NOBODY = 65534

LOOK = """
import json, os, resource, sys
import anyio
from pathlib import Path
from engine import NightsweepError
from engine.testing import ScriptedService
from tests.faults.test_looking import look
from tests.engine.scenes import good

first, *stores = sys.argv[2:]
# All is imported while this user is still allowed to.
anyio.run(look, Path(first))
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
elif os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
for store in stores:
    try:
        print(json.dumps(anyio.run(look, Path(store))))
    except NightsweepError as error:
        print(json.dumps(str(error)))
"""

HOLD = """
import os, signal, socket, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(
    "INSERT INTO worker (id, host, pid, started_at, heartbeat_at) VALUES ('holder', ?, ?, 0, 0)",
    (socket.gethostname(), os.getpid()),
)
connection.execute("UPDATE job SET state = 'running', owner = 'holder', fence = 2 WHERE id = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE run SET message = 'not committed'")
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
connection.execute("ROLLBACK")
"""


def service() -> ScriptedService:
    return ScriptedService(good)


async def fill(store: Path, *, repeats: int = 3) -> None:
    """A store with a finished run."""
    async with opened(store, service()) as engine:
        await finished(engine, sweep(service(), repeats=repeats))


async def look(store: Path) -> dict[str, Any]:
    """What each read-only command shows of a store."""
    async with open_engine(store, registry=registry(service()), read_only=True) as engine:
        return await shown(engine)


async def shown(engine: Engine) -> dict[str, Any]:
    run = await engine.run()
    status = await run.status()
    return {
        "done": status.cells_done,
        "message": status.message,
        "unattended": status.unattended,
        "rows": len([row async for row in run.rows()]),
        "events": [event.kind for event in await run.events()],
        "runs": [one.name for one in await engine.runs()],
    }


FINISHED = {
    "done": 3,
    "message": "",
    "unattended": True,
    "rows": 3,
    "events": [],
    "runs": ["scripted"],
}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and the time of its last change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def looked_at(how: str, scratch: Path, *stores: Path) -> list[Any]:
    """What a process without rights, or with a full disk, sees of stores."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LOOK, how, str(scratch), *map(str, stores)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def held(store: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that was stopped in the middle of a transaction on a store."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert next_line(process) == "held"
        os.waitpid(process.pid, os.WUNTRACED)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may look into, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700)
    shutil.rmtree(folder)


def seal(folder: Path, *, but: Path) -> None:
    """Let all users read the files of a folder, `but` one, and none write them."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o200 if path == but else 0o444)


async def test_looking_writes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    await fill(store)
    before = files(tmp_path)

    seen = await look(store)

    assert seen == FINISHED
    assert files(tmp_path) == before


async def test_a_reader_without_write_permission_sees_what_is_committed_and_learns_what_it_may_not_read(
    tmp_path: Path, shared: Path
) -> None:
    await fill(tmp_path / "scratch.db")
    store = tmp_path / "store.db"
    kinds = {"whole": ("",), "killed": ("", "-wal", "-shm"), "copied": ("", "-wal")}
    async with opened(store, service()) as engine:
        await finished(engine, sweep(service(), repeats=3))
        for kind, suffixes in kinds.items():
            (shared / kind).mkdir()
            for suffix in suffixes:
                if kind != "whole":
                    shutil.copy(f"{store}{suffix}", shared / kind)
    shutil.copy(store, shared / "whole")
    private = shared / "private.db"
    shutil.copy(tmp_path / "scratch.db", private)
    seal(shared, but=private)
    before = files(shared)

    *seen, problem = looked_at(
        "nobody",
        tmp_path / "scratch.db",
        *(shared / kind / "store.db" for kind in kinds),
        private,
    )

    assert seen == [FINISHED] * 3
    assert problem == f"{private}: cannot be read by this user; fix its permissions"
    assert files(shared) == before


async def test_a_copy_with_its_log_alone_gets_no_file_from_its_owner_who_looks_at_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, copied = tmp_path / "store.db", tmp_path / "copied"
    copied.mkdir()
    async with opened(store, service()) as engine:
        await finished(engine, sweep(service(), repeats=3))
        for suffix in ("", "-wal"):
            shutil.copy(f"{store}{suffix}", copied)
    before = files(copied)

    seen = await look(copied / "store.db")

    assert seen == FINISHED
    assert files(copied) == before
    assert "its log cannot be shared, so a private copy is read" in caplog.text


async def test_a_full_disk_is_no_reason_not_to_look(tmp_path: Path) -> None:
    quiet, busy = tmp_path / "quiet.db", tmp_path / "busy.db"
    await fill(quiet)
    async with opened(busy, service()) as engine:
        await finished(engine, sweep(service(), repeats=3))

        seen = looked_at("full", quiet, quiet, busy)

    assert seen == [FINISHED, FINISHED]


async def test_a_process_that_was_stopped_in_a_transaction_blocks_no_reader(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store.db"
    await fill(store)

    with held(store):
        seen = await look(store)
        async with open_engine(store, read_only=True) as engine:
            copy = await engine.backup(tmp_path / "copy.db")

    assert seen == FINISHED
    assert copy.answers == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
async def test_a_writer_without_the_lock_learns_which_process_holds_it_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.store.sqlite.database.WRITE_TIMEOUT_S", 0.0)
    monkeypatch.setattr("engine.store.writer.PATIENCE_S", 0.0)
    store = tmp_path / "store.db"
    await fill(store)

    with held(store) as holder:
        async with opened(store, service()) as engine:
            run = await engine.run()
            with pytest.raises(StoreError) as stopped:
                await run.unpause()
            holder.send_signal(signal.SIGCONT)
            await run.unpause()

    pid = holder.pid
    assert f"process {pid} (python" in str(stopped.value)
    assert "which works on scripted, was stopped while holding the write lock" in str(stopped.value)
    assert f"continue it (`kill -CONT {pid}`" in str(stopped.value)


async def test_commits_during_a_read_are_seen_by_the_next(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    await fill(store)

    async with open_engine(store, registry=registry(service()), read_only=True) as engine:
        before = await shown(engine)
        await fill(store, repeats=5)
        after = await shown(engine)

    assert (before["done"], after["done"]) == (3, 5)


async def test_what_was_read_while_the_file_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "numbers.db"

    def write() -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS number (value)")
            connection.execute("INSERT INTO number VALUES (1)")
            connection.commit()

    write()
    database = SQLiteDatabase(path, source=Source(path))
    count = text("SELECT count(*) FROM number")
    asked = []

    def disturbed(connection: Any) -> int:
        found: int = connection.execute(count).scalar_one()
        asked.append(found)
        if len(asked) == 1:
            write()
        return found

    def always_disturbed(connection: Any) -> None:
        connection.execute(count)
        write()

    try:
        found = await database.ask(disturbed)
        with pytest.raises(ChangedMeanwhile, match="was written while it was read; try again"):
            await database.ask(always_disturbed)
    finally:
        await database.close()

    assert (asked, found) == ([1, 2], 2)


async def test_what_would_change_a_store_that_is_only_read_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    await fill(store)
    before = files(tmp_path)

    async with open_engine(store, registry=registry(service()), read_only=True) as engine:
        run = await engine.run()
        for change in (
            run.pause,
            run.cancel,
            run.unpause,
            run.retry,
            run.execute,
            engine.prune,
            lambda: engine.submit(sweep(service())),
            lambda: engine.rename("scripted", "other"),
            lambda: engine.delete("scripted"),
        ):
            with pytest.raises(UsageError, match="opened with read_only=True; open it without"):
                await change()

    assert files(tmp_path) == before


async def test_a_store_of_an_older_version_is_read_and_stays_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store.db"
    await fill(store)
    downgrade(store, "0011")
    before = files(tmp_path)

    seen = await look(store)
    unchanged = files(tmp_path)
    async with open_engine(store, read_only=True) as engine:
        await engine.backup(tmp_path / "copy.db")
    copied = await look(tmp_path / "copy.db")

    assert seen == copied == FINISHED
    assert unchanged == before
    assert (
        "is of an older version (schema 0011), so a private copy of its present state is read"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no store"),
        (b"", "the store is empty"),
        (b"x", "is not a Nightsweep store"),
        (b"name: sweep\n" * 100, "is not a Nightsweep store"),
    ],
)
async def test_what_is_no_store_is_refused_and_left_as_it_was(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    store = tmp_path / "store.db"
    if content is not None:
        store.write_bytes(content)
    before = files(tmp_path)

    with pytest.raises(NightsweepError, match=problem):
        await look(store)

    assert files(tmp_path) == before


async def test_a_store_of_a_newer_version_is_not_read(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    await fill(store)
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(StoreError, match=r"newer version of Nightsweep \(schema 9999"):
        await look(store)
