"""Opening an existing store: a mistyped name is an error, not an empty store."""

import gc
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import UsageError
from engine.locations import parse_store

if TYPE_CHECKING:
    from engine.session import Engine

_COLLECTIONS = 20_000, 50, 50
"""The thresholds of the garbage collector while a store is read, as `gc.set_threshold` takes them."""


def open_existing(store: str) -> "AbstractAsyncContextManager[Engine]":
    """Open a store to change it; raises UsageError if it does not exist."""
    check_exists(store)
    from engine.cli.running import stopping_between_commits
    from engine.session import open_engine

    return stopping_between_commits(open_engine(store))


def open_for_reading(store: str) -> "AbstractAsyncContextManager[Engine]":
    """Open a store read-only, writing nothing; raises UsageError if it does not exist."""
    check_exists(store)
    # A million rows are many objects and few cycles: with Python's own thresholds, the search for cycles takes a
    # quarter of the time.
    gc.set_threshold(*_COLLECTIONS)
    from engine.session import open_engine

    return open_engine(store, read_only=True)


def check_exists(store: str) -> None:
    """Raise UsageError if a store does not exist."""
    if not store_exists(store):
        raise UsageError(
            f"there is no store at {store}: name it with --store,"
            " or make one with `nightsweep run SWEEP`"
        )


def is_in_file(store: str) -> bool:
    """Whether a store is in a file, and not on a server."""
    return isinstance(parse_store(store), Path)


def store_exists(store: str) -> bool:
    """Whether a store's file exists, or its tables on a server; raises UsageError or StoreError if that is unknown."""
    location = parse_store(store)
    if not isinstance(location, Path):
        from engine.store import is_store_on_server

        return is_store_on_server(location)
    try:
        return location.exists()
    except OSError as error:
        raise UsageError(f"{store}: cannot be accessed: {error.strerror}") from None
