"""The processes that hold SQLite's locks on a store, as far as the system reports them.

SQLite's log (`-wal`) is reset once all of it is in the database and no process reads from it. A single read transaction
that stays open makes the log grow with every commit.
"""

import os
from dataclasses import dataclass
from pathlib import Path

# In the file `-shm`, each reader holds a shared lock on one of these bytes (SQLite's WAL_READ_LOCK).
_READ_LOCKS = range(123, 128)
# The writer holds this one alone (WAL_WRITE_LOCK).
_WRITE_LOCKS = range(120, 121)


@dataclass(frozen=True, slots=True, order=True)
class Reader:
    """A process that holds a lock on a store. Only its name is shown, because its arguments may hold keys."""

    pid: int
    name: str


def log_bytes(store: Path) -> int:
    """The size of the log in bytes; 0 if there is none."""
    try:
        return Path(f"{store.resolve()}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def find_readers(store: Path, locks: Path = Path("/proc/locks")) -> frozenset[Reader] | None:
    """The processes that hold a reader's lock now, including this one.

    None if the system does not report locks (any but Linux).
    """
    return _find_holders(store, locks, "READ", _READ_LOCKS)


def find_writers(store: Path, locks: Path = Path("/proc/locks")) -> frozenset[Reader] | None:
    """The process that holds the write lock now; empty if it runs in another container.

    None if the system does not report locks (any but Linux).
    """
    return _find_holders(store, locks, "WRITE", _WRITE_LOCKS)


def _find_holders(store: Path, locks: Path, kind: str, held: range) -> frozenset[Reader] | None:
    try:
        inode = Path(f"{store.resolve()}-shm").stat().st_ino
        lines = locks.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return frozenset(
        Reader(pid, _name_of(pid))
        for pid, node, first, last in (_parse_lock(line, kind) for line in lines)
        if node == inode and first <= held[-1] and last >= held[0]
    )


def describe(store: Path, size: int, found: frozenset[Reader] | None) -> str:
    """Describe a log of `size` bytes, the processes that cause it, and what to do, in one line."""
    if found is None:
        causes = f"a process that has it open (`lsof {store}-wal` lists them)"
    else:
        names = [
            f"process {one.pid} ({'this one' if one.pid == os.getpid() else one.name})"
            for one in sorted(found)
        ]
        causes = " and ".join(names) or "reads that follow each other without a gap"
    return (
        f"the store's log has grown to {size / 1024**2:,.0f} MiB, because it is read all the time by"
        f" {causes}; it stops growing once that has ended"
    )


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, such as by Ctrl-Z or by a debugger."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def _parse_lock(line: str, kind: str) -> tuple[int, int, int, int]:
    """(process, inode, first byte, last byte) of a line of /proc/locks; nothing for a lock that is waited for."""
    match line.split():
        case [_, "POSIX" | "OFDLCK", _, found, pid, file, first, last] if found == kind:
            node = int(file.rpartition(":")[2])
            return int(pid), node, int(first), 2**63 if last == "EOF" else int(last)
        case _:
            return 0, -1, 0, 0


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "unknown, perhaps outside of this container"
