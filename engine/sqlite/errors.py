"""SQLite's errors by their codes: https://www.sqlite.org/rescode.html."""

import sqlite3
from pathlib import Path

from engine.sqlite.purpose import E, Purpose


def code_of(error: BaseException) -> int | None:
    """The extended result code of a SQLite error, also one wrapped by SQLAlchemy; None for other errors."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)
    return code if isinstance(code, int) else None


def primary_code_of(error: BaseException) -> int | None:
    """The primary result code of a SQLite error; None for other errors."""
    code = code_of(error)
    return None if code is None else code & 0xFF


def explain(error: BaseException, path: Path, purpose: Purpose[E]) -> E:
    """Translate a database error into the error class and words of a purpose, with what to do."""
    text = getattr(error, "orig", None) or error
    match primary_code_of(error):
        case sqlite3.SQLITE_FULL:
            what = f"the disk is full; free some space, then {purpose.afterwards}"
        case sqlite3.SQLITE_NOTADB:
            what = f"is not {purpose.title} (not a SQLite database); name another file"
        case sqlite3.SQLITE_CORRUPT:
            what = f"the database is damaged ({text}); restore a backup"
        case sqlite3.SQLITE_READONLY:
            what = f"the {purpose.name} is read-only; fix its permissions"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            what = f"another process has locked the {purpose.name} for too long; try again"
        case sqlite3.SQLITE_IOERR:
            what = f"cannot be read or written ({text}); check the disk, then {purpose.afterwards}"
        case _:
            what = str(text)
    return purpose.error(f"{path}: {what}")


def is_busy(error: BaseException) -> bool:
    """Whether a database error means that another connection holds a lock."""
    return primary_code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_passing(error: BaseException) -> bool:
    """Whether a database error may go away by itself, such as a full disk or a locked database."""
    return is_busy(error) or primary_code_of(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
