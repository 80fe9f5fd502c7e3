"""Saving a store whose file has vanished while this process worked on it, and saying where its content is.

Nothing more is written to the file: another process may use it by another name, under which SQLite's locks differ.
"""

import logging
import shlex
import sqlite3
from contextlib import suppress
from pathlib import Path

from engine.core.errors import StoreError
from engine.sqlite.database_file import DatabaseFile, Loss
from engine.sqlite.files import nearest_folder
from engine.store.spill import Spill
from engine.store.sqlite.backup import save_lost
from engine.store.sqlite.liveness import WorkerLock, workers_folder

logger = logging.getLogger(__name__)


def rescue(
    file: DatabaseFile, loss: Loss, connection: sqlite3.Connection | None, spill: Spill
) -> str:
    """Save a lost store, and make sure that there is a side file for uncommitted answers. Blocking.

    `connection` is None if this process has never written to the store. Returns what happened and what to do.
    """
    logger.warning("%s: %s; nothing more is sent", file.path, loss.what)
    folder = workers_folder(file.path)
    if loss.is_gone and connection is not None:
        advice, folder = _save(file, loss, connection, folder)
    elif loss.now_at is not None and connection is not None:
        with suppress(sqlite3.Error):
            _complete(file, loss.now_at, connection)
        if file.path.parent.is_dir():
            there = shlex.join(["mv", str(loss.now_at), str(file.path)])
            advice = f"it is at {loss.now_at} now: move it back (`{there}`), then resume"
        else:
            folder = workers_folder(loss.now_at)
            advice = f"continue with {_resume(loss.now_at)}"
    elif loss.is_spoilt:
        advice = "another program wrote to the store while it was in use: restore a backup"
    elif loss.is_exchanged:
        advice = "end all processes that have the store open, then resume"
    else:
        advice = f"move it back to {file.path}, then resume"
    if loss.is_gone or loss.is_spoilt or loss.has_successor:
        file.clear_log()
    if not folder.parent.is_dir():
        folder = nearest_folder(folder) / folder.name
    spill.find_place(folder, moves=loss.is_gone, lock=WorkerLock)
    return f"{file.path}: {loss.what} while this process worked on it, so nothing more is sent; {advice}"


def _save(
    file: DatabaseFile, loss: Loss, connection: sqlite3.Connection, folder: Path
) -> tuple[str, Path]:
    """Save a file that has no name left: (what the user can do, the folder of its workers)."""
    try:
        saved = save_lost(connection, file.path, nearest_folder(file.path), loss.at)
    except StoreError as error:
        return f"its content could not be saved: {error}", folder
    return f"its content was saved as {saved}: continue with {_resume(saved)}", workers_folder(
        saved
    )


def _complete(file: DatabaseFile, now_at: Path, connection: sqlite3.Connection) -> None:
    """Write the log, which has the old name, into the file, unless another process has opened the file by its new name."""
    if file.is_alone_at(now_at):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _resume(store: Path) -> str:
    return f"`{shlex.join(['nightsweep', 'resume', '--store', str(store)])}`"
