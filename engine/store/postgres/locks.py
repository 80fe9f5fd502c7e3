"""The advisory locks of a store: of migrations, of the writer, and of each worker.

A lock belongs to the schema of the store, so that stores in several schemas of a database do not share it. The lock
of a worker is a shared one: after its connection was cut, a new one can take the lock before the server has noticed
the end of the old one.
"""

from uuid import UUID

_WRITING, _MIGRATING = 0x6E73_7772, 0x6E73_6D67
"""The first keys of these locks; the second is the id of the schema."""
_SCHEMA = "CAST(CAST(to_regnamespace(current_schema()) AS oid) AS bigint)::bit(32)::int"

LOCK_WRITING = (
    "SELECT CAST(pg_current_xact_id() AS text), pg_backend_pid(),"
    f" pg_advisory_xact_lock({_WRITING}, {_SCHEMA})"
)
"""Waits for the write transactions of all other workers; held until the transaction ends.

Returns the transaction's id and that of the session's process, so that a COMMIT without an answer can be looked up.
"""
LOCK_MIGRATION = f"SELECT pg_advisory_xact_lock({_MIGRATING}, {_SCHEMA})"
"""Waits for migrations by other processes; held until the transaction ends."""
LOCK_WORKER = "SELECT pg_advisory_lock_shared(%s)"
"""Shows that a worker is alive; held until the session ends. The parameter is `key_of` the worker."""
HELD_BY_WORKERS = """
SELECT (CAST(classid AS bigint) << 32) | CAST(objid AS bigint) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""The keys of all locks with one key in this database."""


def key_of(worker_id: str) -> int:
    """The key of a worker's lock: the first 64 bits of its id, signed."""
    return int.from_bytes(UUID(worker_id).bytes[:8], "big", signed=True)
