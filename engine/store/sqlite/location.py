"""Error messages about a store's file."""

import sqlite3
from pathlib import Path

from engine.core.errors import StoreError
from engine.sqlite import errors
from engine.sqlite.errors import code_of
from engine.sqlite.purpose import Purpose

STORE = Purpose(
    name="store",
    title="a Nightsweep store",
    chosen="with --store",
    afterwards="resume",
    error=StoreError,
)


def explain(error: BaseException, path: Path) -> StoreError:
    """Translate a database error into the user's words, with what to do."""
    if code_of(error) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        text = getattr(error, "orig", None) or error
        return StoreError(f"{path}: the run that this process was executing was deleted ({text})")
    return errors.explain(error, path, STORE)
