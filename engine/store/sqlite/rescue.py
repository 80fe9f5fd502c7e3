"""What is done for a store whose file has vanished under this process: all that it held is kept, and where is said.

Nothing more is written to the file: whoever has it now goes by another name, and SQLite's locks with it.
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
    """Keep what a lost store holds, and have a side file for what is in hand; what happened, and what to do. Blocking.

    There is no connection where this process has never written to the store.
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
            advice = f"go on with {_resume(loss.now_at)}"
    elif loss.is_spoilt:
        advice = "what others write into a store in use is lost or damages it: restore a backup"
    elif loss.is_exchanged:
        advice = "end all that has the store open, then resume"
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
    """Save a file that has no name left; what the user can do, and the folder of its workers."""
    try:
        saved = save_lost(connection, file.path, nearest_folder(file.path), loss.at)
    except StoreError as error:
        return f"what it held could not be saved: {error}", folder
    return f"what it held was saved as {saved}: go on with {_resume(saved)}", workers_folder(saved)


def _complete(file: DatabaseFile, now_at: Path, connection: sqlite3.Connection) -> None:
    """Write the log, which goes by the old name, into the file, unless others have opened that meanwhile."""
    if file.is_alone_at(now_at):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _resume(store: Path) -> str:
    return f"`{shlex.join(['nightsweep', 'resume', '--store', str(store)])}`"
