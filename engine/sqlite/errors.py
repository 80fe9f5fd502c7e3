"""SQLite's errors by their codes: https://www.sqlite.org/rescode.html."""

import sqlite3
from pathlib import Path

from engine.sqlite.purpose import E, Purpose


def code_of(error: BaseException) -> int | None:
    """The extended code of SQLite's error, or of the one that SQLAlchemy wrapped; None for others."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)
    return code if isinstance(code, int) else None


def primary_code_of(error: BaseException) -> int | None:
    """The same without what the extended code adds."""
    code = code_of(error)
    return None if code is None else code & 0xFF


def explain(error: BaseException, path: Path, purpose: Purpose[E]) -> E:
    """A database error as one of the purpose's, in the user's words."""
    text = getattr(error, "orig", None) or error
    match primary_code_of(error):
        case sqlite3.SQLITE_FULL:
            told = f"the disk is full; free some space, then {purpose.afterwards}"
        case sqlite3.SQLITE_NOTADB:
            told = f"is not {purpose.title} (not a SQLite database); name another file"
        case sqlite3.SQLITE_CORRUPT:
            told = f"the database is damaged ({text}); restore a backup"
        case sqlite3.SQLITE_READONLY:
            told = f"the {purpose.name} is read-only; fix its permissions"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            told = f"another process holds the {purpose.name} for too long; try again"
        case sqlite3.SQLITE_IOERR:
            told = f"cannot be read or written ({text}); see to the disk, then {purpose.afterwards}"
        case _:
            told = str(text)
    return purpose.error(f"{path}: {told}")


def is_busy(error: BaseException) -> bool:
    """Whether a database error says that another connection holds a lock."""
    return primary_code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_passing(error: BaseException) -> bool:
    """Whether a database error may go away by itself: a full disk, a database that is locked."""
    return is_busy(error) or primary_code_of(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
