"""Whether a path can hold a store, said before SQLite is asked."""

import logging
import os
import shlex
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

from engine.core.errors import StoreError
from engine.core.listing import listed
from engine.sqlite.database_file import is_open_here, other_names
from engine.sqlite.file_systems import Trust, file_system, is_mounted, trust, try_out

logger = logging.getLogger(__name__)

_SQLITE_MAGIC = b"SQLite format 3\x00"


def prepare(path: Path) -> None:
    """Make sure that a store can live at `path`, creating an empty file of mode 0600 if there is none.

    A file that is there already, and its log, are made as private: they hold what models say.

    Raises StoreError saying what stands in the way: a missing or unwritable folder, a read-only
    file, a file that is no database, a file system whose locks or shared memory do not work. Blocking:
    a file system that is not known is tried out with a second process.
    """
    _check_place(path)
    _check_file_system(path)
    if path.exists():
        if (fault := _other_name(path)) is not None:
            raise StoreError(f"{path}: {fault}")
        if is_open_here(path):
            # Opened and closed here it would lose the locks that SQLite holds on it for this process.
            return
    _check_content(path)
    _make_private(path)


def _check_place(path: Path) -> None:
    folder = path.parent
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise StoreError(f"{path}: cannot be looked up: {error.strerror}") from None
    if is_folder:
        raise StoreError(f"{path}: is a folder; name a file for the store")
    if not folder.is_dir():
        raise StoreError(f"{path}: the folder {folder} does not exist; create it first")
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: is not a regular file; name another file for the store")
    if not os.access(folder, os.W_OK):
        raise StoreError(
            f"{path}: the folder {folder} is not writable; choose another with --store"
        )


def _check_content(path: Path) -> None:
    """Make an empty file where there is none, and raise StoreError for one that is no database."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
    except PermissionError:
        raise StoreError(f"{path}: cannot be written by this user; fix its permissions") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened: {error.strerror}") from None
    if head and head != _SQLITE_MAGIC:
        raise StoreError(
            f"{path}: is not a Nightsweep store (not a SQLite database); name another file"
        )


def check_readable(path: Path) -> None:
    """Raise StoreError where there is no file at `path` that this user may read. Opens nothing.

    A file that is opened past SQLite and closed again would take this process's locks from it.
    """
    try:
        is_folder, is_there, is_file = path.is_dir(), path.exists(), path.is_file()
    except OSError as error:
        raise StoreError(f"{path}: cannot be looked up: {error.strerror}") from None
    if is_folder:
        raise StoreError(f"{path}: is a folder; name the file of a store")
    if not is_there:
        raise StoreError(f"{path}: there is no store")
    if not is_file:
        raise StoreError(f"{path}: is not a regular file; name the file of a store")
    if not os.access(path, os.R_OK):
        raise StoreError(f"{path}: cannot be read by this user; fix its permissions")
    if (fault := _other_name(path)) is not None:
        logger.warning("%s: may show an old state, since it %s", path, fault)


def _other_name(path: Path) -> str | None:
    """By which other name a store can be reached, why that is dangerous, and what to do; None where by none.

    SQLite's log and locks go by name: two processes that come by two names know nothing of each other.
    """
    real = path.resolve()
    if is_mounted(real):
        return (
            "is mounted as a single file: its log would be beside it in here alone, and would be lost with"
            " the container; mount the folder that it is in"
        )
    links = real.stat().st_nlink
    if links == 1:
        return None
    others = listed([str(name) for name in other_names(real)])
    return (
        f"has {links} names (hard links){', also ' + others if others else ''}, and work by two names damages a"
        f" store; remove all but one (`find FOLDER -xdev -samefile {shlex.quote(str(real))}` finds them), or"
        " replace this one by a copy while nobody works on the store"
    )


def nearest_folder(path: Path) -> Path:
    """The folder of `path`, or where that is gone or cannot be written the nearest above it that can."""
    for folder in path.parents:
        if folder.is_dir() and os.access(folder, os.W_OK):
            return folder
    return Path(gettempdir())


def _check_file_system(path: Path) -> None:
    folder = path.resolve().parent
    kind = file_system(folder)
    match trust(kind):
        case Trust.SHARED:
            fault = "other machines can write there, too, and SQLite's locks do not hold them back"
        case Trust.UNKNOWN if found := try_out(folder):
            fault = found
        case _:
            return
    raise StoreError(
        f"{path}: a store does not work on this file system ({kind or 'of unknown type'}): {fault};"
        " put the store on a local disk with --store"
    )


def _make_private(path: Path) -> None:
    """Take away what others may do with a store that is this user's."""
    for suffix in ("", "-wal", "-shm"):
        file = path.resolve().with_name(path.resolve().name + suffix)
        with suppress(FileNotFoundError):
            found = file.stat()
            if found.st_mode & 0o077 and found.st_uid == os.getuid():
                file.chmod(stat.S_IMODE(found.st_mode) & 0o700)


def explain(error: BaseException, path: Path) -> StoreError:
    """A database error in the user's words."""
    original = getattr(error, "orig", None) or error
    text = str(original)
    code = getattr(original, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    match primary:
        case sqlite3.SQLITE_FULL:
            return StoreError(f"{path}: the disk is full; free some space, then resume")
        case sqlite3.SQLITE_NOTADB:
            return StoreError(f"{path}: is not a Nightsweep store (not a SQLite database)")
        case sqlite3.SQLITE_CORRUPT:
            return StoreError(f"{path}: the database is damaged ({text}); restore a backup")
        case sqlite3.SQLITE_READONLY:
            return StoreError(f"{path}: the store is read-only; fix its permissions")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"{path}: another process holds the store for too long; try again")
        case sqlite3.SQLITE_IOERR:
            return StoreError(
                f"{path}: cannot be read or written ({text}); see to the disk, then resume"
            )
        case _ if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return StoreError(
                f"{path}: the run that this process works on was deleted meanwhile ({text})"
            )
        case _:
            return StoreError(f"{path}: {text}")


def is_busy(error: BaseException) -> bool:
    """Whether a database error says that somebody else holds a lock."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_passing(error: BaseException) -> bool:
    """Whether a database error may go away by itself: a full disk, a store that is held."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
    )
