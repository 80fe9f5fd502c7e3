"""A store's file, in the store's words."""

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
    """A database error in the user's words."""
    if code_of(error) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        text = getattr(error, "orig", None) or error
        return StoreError(
            f"{path}: the run that this process works on was deleted meanwhile ({text})"
        )
    return errors.explain(error, path, STORE)
