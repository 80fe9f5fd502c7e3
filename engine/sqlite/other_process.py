"""The second process of a file-system test: a script that needs only the standard library.

For each line on stdin it checks the database and the lock file named by its arguments, and prints its
observations as one line of JSON.
"""

import fcntl
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any, TextIO

_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _observe(database: sqlite3.Connection, lock: TextIO) -> dict[str, Any]:
    [rows] = database.execute("SELECT count(*) FROM seen").fetchone()
    return {"flock_held": _is_held(lock), "write_held": not _write(database), "rows": rows}


def _is_held(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _write(database: sqlite3.Connection) -> bool:
    """Add a row; returns False if the database was locked."""
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _LOCKED:
            return False
        raise
    database.execute("INSERT INTO seen VALUES (0)")
    database.execute("COMMIT")
    return True


def main() -> None:
    """Observe once per line, always with the same connection, which maps the shared memory once."""
    database = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
    with Path(sys.argv[2]).open("w") as lock:
        for _ in sys.stdin:
            try:
                seen = _observe(database, lock)
            except (sqlite3.Error, OSError) as error:
                seen = {"failed": str(error)}
            sys.stdout.write(json.dumps(seen) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
