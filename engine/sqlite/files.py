"""Checking that a path can hold a private database before SQLite opens it."""

import logging
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

from engine.core.listing import join_first
from engine.sqlite.database_file import is_open_here, other_names
from engine.sqlite.file_systems import Trust, file_system, is_mounted, trust, try_out
from engine.sqlite.purpose import E, Purpose

logger = logging.getLogger(__name__)

_SQLITE_MAGIC = b"SQLite format 3\x00"


def prepare(path: Path, purpose: Purpose[E]) -> None:
    """Check that a database can live at `path`, and create an empty file of mode 0600 if there is none.

    An existing database that belongs to this user, its log and its index become private as well.

    Raises the purpose's error, with what to do, for a missing or unwritable folder, a read-only file, a file
    that is not a database, a file with a second name, and a file system whose locks or shared memory do not work.
    Blocking; a file system of an unknown type is tested with a second process.
    """
    _check_place(path, purpose)
    _check_file_system(path, purpose)
    if path.exists():
        if (fault := _other_name(path, purpose.name)) is not None:
            raise purpose.error(f"{path}: {fault}")
        if is_open_here(path):
            # Opening and closing it here would release the locks that SQLite holds for this process.
            return
    _check_content(path, purpose)
    _make_private(path)


def _check_place(path: Path, purpose: Purpose[E]) -> None:
    folder = path.parent
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise purpose.error(f"{path}: cannot be accessed: {error.strerror}") from None
    if is_folder:
        raise purpose.error(f"{path}: is a folder; name a file for the {purpose.name}")
    if not folder.is_dir():
        raise purpose.error(f"{path}: the folder {folder} does not exist; create it first")
    if path.exists() and not path.is_file():
        raise purpose.error(
            f"{path}: is not a regular file; name another file for the {purpose.name}"
        )
    if not os.access(folder, os.W_OK):
        raise purpose.error(
            f"{path}: the folder {folder} is not writable; choose another {purpose.chosen}"
        )


def _check_content(path: Path, purpose: Purpose[E]) -> None:
    """Create an empty file if there is none; refuse a file that is not a database."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
    except PermissionError:
        raise purpose.error(
            f"{path}: cannot be written by this user; fix its permissions"
        ) from None
    except OSError as error:
        raise purpose.error(f"{path}: cannot be opened: {error.strerror}") from None
    if head and head != _SQLITE_MAGIC:
        raise purpose.error(
            f"{path}: is not {purpose.title} (not a SQLite database); name another file"
        )


def check_readable(path: Path, purpose: Purpose[E]) -> None:
    """Raise the purpose's error unless `path` is a file that this user may read.

    Opens no file: closing one would release the locks that SQLite holds on it for this process.
    """
    try:
        is_folder, is_there, is_file = path.is_dir(), path.exists(), path.is_file()
    except OSError as error:
        raise purpose.error(f"{path}: cannot be accessed: {error.strerror}") from None
    if is_folder:
        raise purpose.error(f"{path}: is a folder; name the file of a {purpose.name}")
    if not is_there:
        raise purpose.error(f"{path}: there is no {purpose.name}")
    if not is_file:
        raise purpose.error(f"{path}: is not a regular file; name the file of a {purpose.name}")
    if not os.access(path, os.R_OK):
        raise purpose.error(f"{path}: cannot be read by this user; fix its permissions")
    if (fault := _other_name(path, purpose.name)) is not None:
        logger.warning("%s: may show an old state, because it %s", path, fault)


def _other_name(path: Path, name: str) -> str | None:
    """Another name by which the database can be reached, why that is dangerous, and what to do; None if there is none.

    SQLite's log and locks are found by name, so two processes that use two names do not see each other's.
    """
    real = path.resolve()
    if is_mounted(real):
        return (
            "is mounted as a single file: its log would exist only inside the container and be lost with"
            " it; mount its folder instead"
        )
    links = real.stat().st_nlink
    if links == 1:
        return None
    others = join_first([str(other) for other in other_names(real)])
    return (
        f"has {links} names (hard links){', also ' + others if others else ''}, and using two names damages a"
        f" {name}; remove all but one (`find FOLDER -xdev -samefile {shlex.quote(str(real))}` finds them), or"
        f" replace this one with a copy while no process uses the {name}"
    )


def nearest_folder(path: Path) -> Path:
    """The nearest folder above `path` that exists and is writable; else the folder for temporary files."""
    for folder in path.parents:
        if folder.is_dir() and os.access(folder, os.W_OK):
            return folder
    return Path(gettempdir())


def _check_file_system(path: Path, purpose: Purpose[E]) -> None:
    folder = path.resolve().parent
    kind = file_system(folder)
    match trust(kind):
        case Trust.SHARED:
            fault = "other machines can also write there, and SQLite's locks do not stop them"
        case Trust.UNKNOWN if found := try_out(folder):
            fault = found
        case _:
            return
    raise purpose.error(
        f"{path}: a {purpose.name} does not work on this file system ({kind or 'unknown type'}): {fault};"
        f" put the {purpose.name} on a local disk {purpose.chosen}"
    )


def _make_private(path: Path) -> None:
    """Remove the permissions of other users on a database that belongs to this user."""
    for suffix in ("", "-wal", "-shm"):
        file = path.resolve().with_name(path.resolve().name + suffix)
        with suppress(FileNotFoundError):
            found = file.stat()
            if found.st_mode & 0o077 and found.st_uid == os.getuid():
                file.chmod(stat.S_IMODE(found.st_mode) & 0o700)
