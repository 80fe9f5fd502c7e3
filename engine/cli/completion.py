"""Completing names of runs and services in a shell.

Completion must be quick and change nothing: the store is read without the engine, only if it is an
ordinary SQLite file, and on any error nothing is completed.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import typer

from engine.core.errors import UsageError
from engine.locations import parse_store

_MAGIC = b"SQLite format 3\0"
_MOST = 200
_WAIT_S = 0.2
_UNQUOTED = re.compile(r"[\w.@%+,][\w.@%+,-]*")
"""Names that no shell needs to quote: a store may hold others, which must not reach a shell."""


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """The runs of the command's store whose names begin so, the latest first."""
    store = context.params.get("store")
    if not isinstance(store, str):
        return []
    try:
        location = parse_store(store)
        # A server may be slow, or ask for a password.
        names = _run_names(location.absolute()) if isinstance(location, Path) else []
    except (OSError, ValueError, UsageError, sqlite3.Error):
        return []
    return [name for name in names if name.startswith(incomplete) and _UNQUOTED.fullmatch(name)]


def complete_service(incomplete: str) -> list[str]:
    """The installed services whose names begin so; none of them is imported."""
    from engine.registry import Registry

    return [name for name in sorted(Registry.installed().services) if name.startswith(incomplete)]


def _run_names(store: Path) -> list[str]:
    if not store.is_file():
        return []
    with store.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return []
    # SQLite reads a log through shared memory, and would create that file. Without a log, or with one
    # that no process has open, the database is read as an immutable file.
    store = store.resolve()
    is_shared = all(Path(f"{store}{suffix}").exists() for suffix in ("-wal", "-shm"))
    address = f"{store.as_uri()}?{'mode=ro' if is_shared else 'immutable=1'}"
    query = "SELECT name FROM run ORDER BY updated_at DESC LIMIT ?"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as connection:
        return [name for (name,) in connection.execute(query, (_MOST,))]
