"""Detecting that the file of an open database was removed, renamed, replaced or overwritten.

SQLite opens its files by name and never checks the name again. If a file is removed, renamed or replaced, SQLite
silently keeps working on a file that no other process can find. So the file is checked regularly: by device and
inode, which do not depend on its name, and by content that only checkpoints may change.

The checks open no file, because closing one would release the locks that SQLite holds on it for this process.
They use the descriptors that SQLite has open.
"""

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

_COMPANIONS = {"-wal": "log", "-shm": "index of the log"}
"""The suffixes of the files next to a database in use; all its processes must share the same ones."""
_MAGIC = b"SQLite format 3\x00"
_HEAD_BYTES = 4096
_INDEX_BYTES = 136
"""Header of the file `-shm`: https://www.sqlite.org/walformat.html#the_wal_index_file_format."""
_MAX_DESCRIPTORS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What happened to a file that is no longer the database at its path."""

    what: str
    """What happened, as a clause for messages."""
    now_at: Path | None = None
    """The file's present path, if it still has a name and the system reports it."""
    is_gone: bool = False
    """Whether the file has no name left, so that it exists only while a process has it open."""
    at: float = 0.0
    """When the file lost its last name; every process that has it open sees the same time."""
    is_spoilt: bool = False
    """Whether something other than SQLite changed the file's content."""
    is_exchanged: bool = False
    """Whether the file is in place but its log or index is another file."""
    has_successor: bool = False
    """Whether another file is now at the path."""


@dataclass(frozen=True, slots=True)
class _Checkpoints:
    """How far the log was copied into the database; only checkpoints write to the database's own file."""

    salts: bytes
    attempted: int
    done: int

    @property
    def is_under_way(self) -> bool:
        """Whether a checkpoint is running or was interrupted."""
        return self.attempted != self.done


@dataclass(frozen=True, slots=True)
class _Content:
    """The state of the database's own file, without its pages."""

    size: int
    changed_ns: int
    head: bytes
    checkpoints: _Checkpoints


_Identity = tuple[int, int]


class DatabaseFile:
    """A database's file as it was when it was opened. Safe to use from any thread.

    Raises OSError if there is no file at `path`.
    """

    def __init__(self, path: Path) -> None:
        # Resolved once: if a symbolic link is changed later, the database has not moved.
        self.path = path.resolve()
        self._named = path
        self._paths = {suffix: Path(f"{self.path}{suffix}") for suffix in _COMPANIONS}
        self._identity = _identity(path.stat())
        self._descriptors: dict[str, int] = {}
        self._identities: dict[str, _Identity] = {"": self._identity}
        self._content: _Content | None = None
        self._loss: Loss | None = None
        self._lock = Lock()

    def remember(self) -> None:
        """Note which files SQLite has open. Call it after the first write transaction of this process has begun."""
        with self._lock:
            if self._descriptors or self._loss is not None:
                return
            for suffix in _COMPANIONS:
                with suppress(OSError):
                    self._identities[suffix] = _identity(self._paths[suffix].stat())
            self._descriptors = _descriptors_of(self._identities)
            self._content = self._read_content()

    def loss(self) -> Loss | None:
        """What happened to the file; None while it is in place and intact. A loss is permanent."""
        with self._lock:
            if self._loss is None:
                self._loss = self._find_loss()
            return self._loss

    def is_alone_at(self, name: Path) -> bool:
        """Whether no process has opened the file by `name`: any log next to that name is this database's."""
        for suffix in _COMPANIONS:
            with suppress(FileNotFoundError):
                if _identity(Path(f"{name}{suffix}").stat()) != self._identities.get(suffix):
                    return False
        return True

    def clear_log(self) -> None:
        """Empty the log that was left at the path, so that SQLite does not apply it to another database there."""
        with suppress(OSError):
            if not self._is_exchanged("-wal"):
                os.truncate(self._paths["-wal"], 0)

    def _find_loss(self) -> Loss | None:
        try:
            found = _identity(self._named.stat())
        except (FileNotFoundError, NotADirectoryError):
            return self._describe_gone("")
        except OSError:
            return None  # Unknown: SQLite reports what is wrong at the next statement.
        if found != self._identity:
            return self._describe_gone("another file is in its place")
        for suffix, name in _COMPANIONS.items():
            if suffix in self._identities and self._is_exchanged(suffix):
                what = f"its {name}, {self._paths[suffix]}, was removed or replaced"
                return Loss(what=what, is_exchanged=True)
        return self._find_damage()

    def _is_exchanged(self, suffix: str) -> bool:
        try:
            return _identity(self._paths[suffix].stat()) != self._identities.get(suffix)
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _describe_gone(self, instead: str) -> Loss:
        descriptor = self._descriptor("")
        stat = None if descriptor is None else os.fstat(descriptor)
        if descriptor is not None and stat is not None and stat.st_nlink == 0:
            what = "it was replaced by another file" if instead else "it was removed"
            return Loss(what=what, is_gone=True, at=stat.st_ctime, has_successor=bool(instead))
        what = "it was moved or renamed" if stat is not None else "it was removed or renamed"
        if not self._named.parent.is_dir():
            what = "its folder was moved or removed"
        elif instead:
            what += f", and {instead}"
        return Loss(
            what=what,
            now_at=None if descriptor is None else _name_of(descriptor),
            has_successor=bool(instead),
        )

    def _find_damage(self) -> Loss | None:
        seen = self._content
        now = None if seen is None else self._read_content()
        if seen is None or now is None:
            return None
        if now.size == 0:
            return Loss(what="it was emptied", is_spoilt=True)
        if not now.head.startswith(_MAGIC):
            return Loss(what="it was overwritten", is_spoilt=True)
        is_same = (now.size, now.head) == (seen.size, seen.head)
        has_checkpoint = seen.checkpoints != now.checkpoints or seen.checkpoints.is_under_way
        if not is_same and not has_checkpoint:
            return Loss(what="it was overwritten", is_spoilt=True)
        self._content = now
        return None

    def _read_content(self) -> _Content | None:
        """The file's state: the last known one if nothing has changed, None if it cannot be determined."""
        descriptor, index = self._descriptor(""), self._descriptor("-shm")
        if descriptor is None or index is None:
            return None
        try:
            stat = os.fstat(descriptor)
            seen = self._content
            if seen is not None and _version(stat) == (seen.size, seen.changed_ns):
                return seen
            head = os.pread(descriptor, _HEAD_BYTES, 0)
            # Read after the file: a checkpoint announces in the index that it will write before it does.
            checkpoints = _checkpoints(os.pread(index, _INDEX_BYTES, 0))
            is_settled = _version(os.fstat(descriptor)) == _version(stat)
        except (OSError, struct.error):
            return None
        is_same = self._descriptor("") == descriptor and self._descriptor("-shm") == index
        return _Content(*_version(stat), head, checkpoints) if is_settled and is_same else None

    def _descriptor(self, suffix: str) -> int | None:
        """A descriptor with which SQLite has a file open at present."""
        wanted = self._identities.get(suffix)
        descriptor = self._descriptors.get(suffix)
        if wanted is None or descriptor is None:
            return None
        if _is_open(descriptor, wanted):
            return descriptor
        self._descriptors |= _descriptors_of({suffix: wanted})
        descriptor = self._descriptors[suffix]
        return descriptor if _is_open(descriptor, wanted) else None


def is_open_here(path: Path) -> bool:
    """Whether this process has a file open; if so, it must not be opened and closed outside SQLite."""
    return bool(_descriptors_of({"": _identity(path.stat())}))


def other_names(path: Path) -> list[Path]:
    """The other names in the same folder that refer to the file at `path`."""
    wanted = _identity(path.stat())
    with suppress(OSError), os.scandir(path.parent) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if entry.name != path.name and _identity(entry.stat(follow_symlinks=False)) == wanted
        )
    return []


def _identity(stat: os.stat_result) -> _Identity:
    return stat.st_dev, stat.st_ino


def _version(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _checkpoints(index: bytes) -> _Checkpoints:
    [done] = struct.unpack_from("=I", index, 96)
    [attempted] = struct.unpack_from("=I", index, 128)
    return _Checkpoints(salts=index[32:40], attempted=attempted, done=done)


def _descriptors_of(wanted: dict[str, _Identity]) -> dict[str, int]:
    """The descriptors with which this process has files open, by suffix."""
    suffixes = {identity: suffix for suffix, identity in wanted.items()}
    found: dict[str, int] = {}
    for descriptor in _open_descriptors():
        with suppress(OSError):
            suffix = suffixes.get(_identity(os.fstat(descriptor)))
            if suffix is not None:
                found.setdefault(suffix, descriptor)
    return found


def _open_descriptors() -> list[int]:
    try:
        return sorted(map(int, os.listdir("/dev/fd")))  # noqa: PTH208
    except (OSError, ValueError):
        return list(range(min(os.sysconf("SC_OPEN_MAX"), _MAX_DESCRIPTORS)))


def _is_open(descriptor: int, wanted: _Identity) -> bool:
    try:
        return _identity(os.fstat(descriptor)) == wanted
    except OSError:
        return False


def _name_of(descriptor: int) -> Path | None:
    """The present path of an open file; None if the system does not report it (any but Linux)."""
    try:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        return name if _identity(name.stat()) == _identity(os.fstat(descriptor)) else None
    except OSError:
        return None
