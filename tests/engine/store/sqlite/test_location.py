import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest

from engine.clock import SystemClock
from engine.core.errors import StoreError
from engine.sqlite.file_systems import (
    Trust,
    fault_in,
    file_system,
    is_mounted,
    trust,
    try_out,
)
from engine.store import open_for_reading, open_store
from engine.store.schema import HEAD
from tests.engine.store.scenes import new_job, rows, submit
from tests.paths import ROOT
from tests.patience import PATIENCE_S

MOUNTS = """\
22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:40 / /srv rw,relatime shared:2 - nfs4 server:/export rw
31 30 0:41 / /srv/local rw,relatime - xfs /dev/vdb rw
32 22 0:42 / /mnt/two\\040words rw - fuse.sshfs user@host:/ rw
33 22 0:43 / /covered rw - ext4 /dev/vdc rw
34 22 0:44 / /covered rw - cifs //server/share rw
"""


async def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        async with open_store(path, SystemClock()):
            pass
    return str(caught.value)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "ext4"),
        ("/srv/sweeps", "nfs4"),
        ("/srv/local/sweeps", "xfs"),
        ("/mnt/two words/sweeps", "fuse.sshfs"),
        ("/mnt/two", "ext4"),
        ("/covered", "cifs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    assert file_system(Path(folder), MOUNTS) == kind


def test_a_machine_that_tells_of_no_mounts_has_no_file_system_type() -> None:
    assert file_system(Path("/home/me"), "") == ""


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *(
            (kind, Trust.LOCAL)
            for kind in ("apfs", "btrfs", "ext4", "overlay", "tmpfs", "xfs", "zfs")
        ),
        *(
            (kind, Trust.SHARED)
            for kind in ("ceph", "cifs", "fuse.sshfs", "lustre", "nfs4", "smb3")
        ),
        *(
            (kind, Trust.UNKNOWN)
            for kind in ("", "9p", "fuse.mergerfs", "fuseblk", "virtiofs", "new")
        ),
    ],
)
def test_a_file_system_is_local_or_shared_by_machines_or_has_to_be_tried(
    kind: str, expected: Trust
) -> None:
    assert trust(kind) is expected


async def test_a_file_system_of_several_machines_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "engine.sqlite.files.file_system", lambda folder: file_system(Path("/srv"), MOUNTS)
    )

    message = await refusal(tmp_path / "store.db")

    assert (
        "does not work on this file system (nfs4): other machines can also write there" in message
    )
    assert modes_in(tmp_path) == {}


async def test_an_unknown_file_system_that_works_holds_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.sqlite.files.file_system", lambda folder: "fuse.new")

    async with open_store(tmp_path / "store.db", SystemClock()) as store:
        await submit(store, new_job("one"))

    assert rows(tmp_path / "store.db", "SELECT count(*) FROM job") == [(1,)]
    assert set(modes_in(tmp_path)) == {"store.db", "store.db.workers"}


WITHOUT_FILES = """
import resource, sys
from pathlib import Path
import anyio
import engine.sqlite.files as location
from engine.clock import SystemClock
from engine.core.errors import StoreError
from engine.store import open_store

async def main():
    async with open_store(Path(sys.argv[1]), SystemClock()):
        pass

location.file_system = lambda folder: "fuse.new"
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    anyio.run(main)
except StoreError as error:
    print(error)
"""


def test_an_unknown_file_system_on_which_sqlite_fails_is_refused_with_what_failed(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", WITHOUT_FILES, str(tmp_path / "store.db")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == (
        f"{tmp_path / 'store.db'}: a store does not work on this file system (fuse.new): SQLite cannot"
        " work there: disk I/O error; put the store on a local disk with --store\n"
    )
    assert modes_in(tmp_path) == {}


@pytest.mark.parametrize("folder", [None, "/dev/shm"])  # noqa: S108
def test_a_trial_on_a_local_file_system_finds_nothing_and_leaves_nothing(
    tmp_path: Path, folder: str | None
) -> None:
    with TemporaryDirectory(dir=folder or tmp_path) as where:
        assert try_out(Path(where)) is None
        assert list(Path(where).iterdir()) == []


def test_a_trial_in_a_folder_that_takes_no_files_says_so() -> None:
    assert "a folder cannot be made there" in str(try_out(Path("/proc")))


HELD = {"flock_held": True, "write_held": True, "rows": 1}
RELEASED = {"flock_held": False, "write_held": False, "rows": 2}


@pytest.mark.parametrize(
    ("while_held", "after_release", "rows_seen", "fault"),
    [
        (HELD, RELEASED, 3, None),
        (HELD | {"flock_held": False}, RELEASED, 3, "locks on files (flock)"),
        (HELD | {"write_held": False}, RELEASED, 3, "SQLite's locks (fcntl)"),
        (HELD, RELEASED | {"flock_held": True}, 3, "locks on files (flock)"),
        (HELD, RELEASED | {"write_held": True}, 3, "SQLite's locks (fcntl)"),
        (HELD | {"rows": 2}, RELEASED, 3, "what another has committed (shared memory)"),
        (HELD, RELEASED | {"rows": 1}, 3, "what another has committed (shared memory)"),
        (HELD, RELEASED, 2, "what another has committed (shared memory)"),
        ({"failed": "locking protocol"}, RELEASED, 3, "locking protocol"),
        (HELD, {"failed": "disk I/O error"}, 3, "disk I/O error"),
    ],
)
def test_a_trial_tells_what_two_processes_cannot_share(
    while_held: dict[str, Any], after_release: dict[str, Any], rows_seen: int, fault: str | None
) -> None:
    found = fault_in(while_held, after_release, rows_seen)

    assert found is None if fault is None else fault in str(found)


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in await refusal(tmp_path)


async def test_a_missing_folder_is_refused_and_not_made(tmp_path: Path) -> None:
    message = await refusal(tmp_path / "missing" / "store.db")

    assert "does not exist" in message
    assert not (tmp_path / "missing").exists()


async def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    assert "not a regular file" in await refusal(pipe)


@pytest.mark.parametrize(
    "content", [b"name: sweep\n", b"x", b"SQLite format 3\x00" + b"\xff" * 600]
)
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)

    message = await refusal(path)

    assert "is not a Nightsweep store" in message
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "table", ["CREATE TABLE notes (text)", "CREATE TABLE alembic_version (version_num)"]
)
async def test_the_database_of_another_program_is_refused_and_left_as_it_was(
    tmp_path: Path, table: str
) -> None:
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(table)
    before = path.read_bytes()

    message = await refusal(path)

    assert "another program" in message
    assert path.read_bytes() == before


async def test_a_store_of_a_newer_version_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(path, SystemClock()):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = path.read_bytes()

    message = await refusal(path)

    assert "newer version" in message
    assert "9999" in message
    assert HEAD in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("folder", ["/proc", "/sys"])
async def test_a_folder_that_not_even_root_can_write_to_is_refused(folder: str) -> None:
    message = await refusal(Path(folder) / "store.db")

    assert message.startswith(f"{folder}/store.db: ")


async def test_a_workers_folder_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db.workers").write_text("a user's file")

    message = await refusal(tmp_path / "store.db")

    assert "store.db.workers" in message


async def test_only_the_owner_may_read_a_store(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        async with open_store(tmp_path / "store.db", SystemClock()) as store:
            await submit(store, new_job("one"))
            modes = modes_in(tmp_path)
            locks = set(modes_in(tmp_path / "store.db.workers").values())
    finally:
        os.umask(before)

    assert modes == {
        "store.db": 0o600,
        "store.db-wal": 0o600,
        "store.db-shm": 0o600,
        "store.db.workers": 0o700,
    }
    assert locks == {0o600}


@pytest.mark.parametrize("name", ["what?.db", "100%20.db", "#1 & only.db", "täglich.db"])
async def test_a_store_may_have_any_name(tmp_path: Path, name: str) -> None:
    async with open_store(tmp_path / name, SystemClock()) as store:
        await submit(store, new_job("one"))

    assert rows(tmp_path / name, "SELECT count(*) FROM job") == [(1,)]
    assert set(modes_in(tmp_path)) == {name, f"{name}.workers"}


async def test_a_link_leads_to_the_same_store_and_the_same_workers(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "store.db")

    async with open_store(tmp_path / "link.db", SystemClock()):
        pass

    assert (tmp_path / "real" / "store.db.workers").is_dir()
    assert not (tmp_path / "link.db.workers").exists()


async def test_a_store_with_two_names_is_refused_under_both_and_both_are_named(
    tmp_path: Path,
) -> None:
    path, second = tmp_path / "store.db", tmp_path / "second name.db"
    async with open_store(path, SystemClock()) as store:
        await submit(store, new_job("one"))
    second.hardlink_to(path)

    refused = [await refusal(path), await refusal(second)]

    assert refused[0].startswith(f"{path}: has 2 names (hard links), also {second}, and using two")
    assert refused[1].startswith(f"{second}: has 2 names (hard links), also {path}, and using two")
    assert f"`find FOLDER -xdev -samefile '{second}'` finds them" in refused[1]
    assert set(modes_in(tmp_path)) == {"store.db", "store.db.workers", "second name.db"}

    second.unlink()
    async with open_store(path, SystemClock()):
        pass


async def test_a_store_with_two_names_can_be_looked_at_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    async with open_store(path, SystemClock()) as store:
        await submit(store, new_job("one"))
    (tmp_path / "second.db").hardlink_to(path)

    async with open_for_reading(path, SystemClock()) as store:
        found = await store.reader.find_run("run")

    assert found is not None
    assert "may show an old state, because it has 2 names" in caplog.text


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/data/store.db", True),
        ("/mnt/two words/store.db", True),
        ("/data/store.db-wal", False),
        ("/data/other.db", False),
        ("/srv/store.db", False),
    ],
)
def test_a_file_is_mounted_by_itself_where_a_mount_has_its_name(file: str, expected: bool) -> None:
    mounts = (
        MOUNTS
        + "35 22 252:1 /host/a.db /data/store.db rw,relatime - ext4 /dev/vda1 rw\n"
        + "36 22 252:1 /host/b.db /mnt/two\\040words/store.db rw,relatime - ext4 /dev/vda1 rw\n"
    )

    assert is_mounted(Path(file), mounts) is expected


def test_a_store_that_is_mounted_as_a_single_file_is_refused(tmp_path: Path) -> None:
    path, mounted = tmp_path / "store.db", tmp_path / "mounted.db"
    path.touch()
    mounted.touch()
    mounting, mountinfo = mount(path, mounted)

    refused = subprocess.run(  # noqa: S603
        [*mounting, sys.executable, "-c", OPENING, str(mounted), mountinfo],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert refused.stdout.startswith(f"{mounted}: is mounted as a single file")
    assert "mount its folder instead" in refused.stdout
    assert path.read_bytes() == mounted.read_bytes() == b""
    assert set(modes_in(tmp_path)) == {"store.db", "mounted.db"}


def mount(file: Path, target: Path) -> tuple[list[str], str]:
    """What starts a command in which `file` is mounted at `target`, and nothing.

    Where this user may not mount: nothing, and the words in which Linux would tell of the mount.
    """
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    mounting = ["unshare", "-Urm", "sh", "-c", script, "sh", str(file), str(target)]
    try:
        subprocess.run([*mounting, "true"], capture_output=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return [], f"35 22 252:1 {file} {target} rw,relatime - ext4 /dev/vda1 rw\n"
    return mounting, ""


async def test_a_store_that_is_opened_twice_in_a_process_keeps_its_locks(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(path, SystemClock()) as first:
        await submit(first, new_job("one"))
        async with open_store(path, SystemClock()):
            pass

        # Another program that comes and goes: it would take itself for the last, and remove the log.
        await anyio.run_process([sys.executable, "-c", READING, str(path)])

        await submit(first, new_job("other"), name="second")
        assert not first.is_lost

    assert rows(path, "SELECT count(*) FROM job") == [(2,)]


READING = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT count(*) FROM job").fetchone()
database.close()
"""

OPENING = """
import sys
from functools import partial
from pathlib import Path
import anyio
import engine.sqlite.files as location
from engine.clock import SystemClock
from engine.core.errors import StoreError
from engine.store import open_store

async def main():
    async with open_store(Path(sys.argv[1]), SystemClock()):
        pass

if mountinfo := sys.argv[2]:
    location.is_mounted = partial(location.is_mounted, mountinfo=mountinfo)
try:
    anyio.run(main)
except StoreError as error:
    print(error)
"""

OPENERS = """
import multiprocessing
import sys
from pathlib import Path

import anyio

from engine.clock import SystemClock
from engine.store import open_store

processes = multiprocessing.get_context("fork")
together = processes.Barrier(8, timeout=float(sys.argv[2]))

async def main():
    together.wait()
    async with open_store(Path(sys.argv[1]), SystemClock()):
        sys.stdout.write("open\\n")
        sys.stdout.flush()
        together.wait()

openers = [processes.Process(target=anyio.run, args=(main,)) for _ in range(8)]
for opener in openers:
    opener.start()
for opener in openers:
    opener.join()
print([opener.exitcode for opener in openers])
"""


def test_eight_processes_at_once_migrate_a_new_store_exactly_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", OPENERS, str(path), str(PATIENCE_S)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout.splitlines() == ["open"] * 8 + [str([0] * 8)], ended.stderr
    assert rows(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
