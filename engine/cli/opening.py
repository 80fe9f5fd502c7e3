"""A store that must be there already: a mistyped name is an error, not an empty store."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import UsageError
from engine.core.stores import store_path

if TYPE_CHECKING:
    from engine.session import Engine


def open_existing(store: str) -> "AbstractAsyncContextManager[Engine]":
    """Open a store to change it; raises UsageError when there is none."""
    check_exists(store)
    from engine.cli.running import stopped_between_commits
    from engine.session import open_engine

    return stopped_between_commits(open_engine(store))


def open_for_reading(store: str) -> "AbstractAsyncContextManager[Engine]":
    """Open a store to look at it, writing nothing; raises UsageError when there is none."""
    check_exists(store)
    from engine.session import open_engine

    return open_engine(store, read_only=True)


def check_exists(store: str) -> None:
    """Raise UsageError when there is no such store."""
    if not is_there(store):
        raise UsageError(
            f"there is no store at {store}: name it with --store,"
            " or make one with `nightsweep run SWEEP`"
        )


def is_there(store: str) -> bool:
    """Whether there is anything where a store is named; raises UsageError where that cannot be seen."""
    path = Path(store_path(store))
    try:
        return path.exists()
    except OSError as error:
        raise UsageError(f"{store}: cannot be accessed: {error.strerror}") from None
