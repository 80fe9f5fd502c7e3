"""Which file systems can hold a database: known by type, or tested with two processes."""

import fcntl
import json
import os
import re
import select
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

_LOCAL = frozenset(
    {"apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "nilfs2", "overlay"}
    | {"ramfs", "reiserfs", "rootfs", "tmpfs", "xfs", "zfs"}
)
_NETWORK = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "coda", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3"}
    | {"smbfs"}
)
_ANSWER_TIMEOUT_S = 30.0
_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")
_OTHER_PROCESS = Path(__file__).with_name("other_process.py")


class Trust(StrEnum):
    """What the type of a file system says about SQLite's locks on it."""

    LOCAL = "local"
    SHARED = "shared"
    """Other machines may write there, so a test on this machine proves nothing."""
    UNKNOWN = "unknown"


def trust(kind: str) -> Trust:
    """Whether SQLite's locks and shared memory are known to work on a type of file system."""
    if kind in _LOCAL:
        return Trust.LOCAL
    return Trust.SHARED if kind in _NETWORK else Trust.UNKNOWN


def file_system(folder: Path, mountinfo: str | None = None) -> str:
    """The type of the file system that holds `folder`; empty if the system does not report it.

    `mountinfo` is the text of Linux's /proc/self/mountinfo, which is read if it is None.
    """
    best, kind = -1, ""
    where = folder.resolve()
    for mount, its_kind in _mounts(mountinfo):
        # Of two mounts at the same place, the later covers the earlier.
        if len(mount.parts) >= best and where.is_relative_to(mount):
            best, kind = len(mount.parts), its_kind
    return kind


def is_mounted(file: Path, mountinfo: str | None = None) -> bool:
    """Whether a file is a mount point of its own, as with a container's option `-v FILE:FILE`."""
    where = file.resolve()
    return any(mount == where for mount, _ in _mounts(mountinfo))


def _mounts(mountinfo: str | None) -> Iterator[tuple[Path, str]]:
    """The mount points and the types of their file systems."""
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        mount = _OCTAL_ESCAPE.sub(lambda code: chr(int(code[1], 8)), left.split(" ")[4])
        yield Path(mount), right.split(" ")[0]


def try_out(folder: Path) -> str | None:
    """Test whether two processes can share a database with a write-ahead log in `folder`.

    Returns what fails, as a clause for messages, or None if everything works. The trial files are removed.
    Blocking; starts a process.
    """
    try:
        trial = Path(mkdtemp(dir=folder, prefix=".nightsweep-trial-"))
    except OSError as error:
        return f"a folder cannot be made there: {error.strerror or error}"
    try:
        return _share_database(trial)
    except sqlite3.Error as error:
        return f"SQLite cannot work there: {error}"
    except OSError as error:
        return f"a file cannot be locked there: {error.strerror or error}"
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _share_database(trial: Path) -> str | None:
    database, lock_file = trial / "trial.db", trial / "trial.lock"
    with (
        closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection,
        lock_file.open("w") as lock,
        _other_process(database, lock_file) as other,
    ):
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            return "memory cannot be shared between processes"
        connection.execute("CREATE TABLE seen (number)")
        connection.execute("INSERT INTO seen VALUES (1)")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO seen VALUES (2)")
        while_held = _ask(other)
        connection.execute("COMMIT")
        fcntl.flock(lock, fcntl.LOCK_UN)
        after_release = _ask(other)
        rows = connection.execute("SELECT count(*) FROM seen").fetchone()[0]
    return fault_in(while_held, after_release, rows)


def fault_in(
    while_held: Mapping[str, Any], after_release: Mapping[str, Any], rows: int
) -> str | None:
    """The fault that another process's observations show, as a clause for messages; None if there is none.

    The other process observes twice: first while this one holds both locks and one of two rows is not committed,
    then after both were released, when it adds a row. `rows` is the number of rows that this process sees then.
    """
    for seen in (while_held, after_release):
        if failed := seen.get("failed"):
            return f"another process cannot work on a database there: {failed}"
    if not while_held["flock_held"] or after_release["flock_held"]:
        return "another process does not see locks on files (flock)"
    if not while_held["write_held"] or after_release["write_held"]:
        return "another process does not see SQLite's locks (fcntl)"
    if (while_held["rows"], after_release["rows"], rows) != (1, 2, 3):
        return "a process does not see what another has committed (shared memory)"
    return None


@contextmanager
def _other_process(database: Path, lock_file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A second process on the same files; it observes once for each line on its stdin."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", str(_OTHER_PROCESS), str(database), str(lock_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _ask(other: "subprocess.Popen[bytes]") -> Mapping[str, Any]:
    assert other.stdin is not None
    assert other.stdout is not None
    with suppress(BrokenPipeError):
        other.stdin.write(b"look\n")
    if not select.select([other.stdout], [], [], _ANSWER_TIMEOUT_S)[0]:
        return {"failed": f"no answer within {_ANSWER_TIMEOUT_S:.0f} s"}
    line = os.read(other.stdout.fileno(), 4096)
    found: Mapping[str, Any] = json.loads(line) if line else {"failed": "it ended early"}
    return found
