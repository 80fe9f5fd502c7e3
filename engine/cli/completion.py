"""The names of runs and services for a shell that completes them.

Pressing the Tab key must be quick and change nothing: the store is read past the engine, only where it
is an ordinary SQLite file, and whatever goes wrong completes nothing.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import typer

from engine.core.errors import UsageError
from engine.core.stores import store_path

_MAGIC = b"SQLite format 3\0"
_MOST = 200
_WAIT_S = 0.2
_UNQUOTED = re.compile(r"[\w.@%+,][\w.@%+,-]*")
"""Names that every shell takes as they stand: nothing of others, which a store may hold, is handed to one."""


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """The runs of the command's store whose names begin so, the latest first."""
    store = context.params.get("store")
    if not isinstance(store, str):
        return []
    try:
        names = _run_names(Path(store_path(store)).absolute())
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
    # Who reads a log does so through what all readers share, which SQLite would make where it is not there:
    # without a log, or with one that no process has open, the file is read as it is.
    store = store.resolve()
    is_shared = all(Path(f"{store}{suffix}").exists() for suffix in ("-wal", "-shm"))
    address = f"{store.as_uri()}?{'mode=ro' if is_shared else 'immutable=1'}"
    query = "SELECT name FROM run ORDER BY updated_at DESC LIMIT ?"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as connection:
        return [name for (name,) in connection.execute(query, (_MOST,))]
