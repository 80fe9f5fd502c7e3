"""Commits whose answer was lost with the connection, and what the server knows of them.

The server may have committed the transaction or not. Each write transaction therefore learns its id when it begins,
and the server is asked about that id once it can be reached again: a transaction that was committed is not run a
second time, and any other is.

After a failover to a server that has not received the transaction, its id lies in the future, so it is run again.
"""

from dataclasses import dataclass

from psycopg import errors
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from engine.store.database import UnknownCommit
from engine.store.postgres.errors import original

_PATIENCE_MS = 1_000
"""How long a session that was ended is waited for, in milliseconds."""
# The connection of the session is lost, but the server may not have noticed that yet.
_END_SESSION = """
SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
WHERE pid = %s AND CAST(CAST(backend_xid AS text) AS bigint) = CAST(%s AS bigint) %% 4294967296
"""
_STATUS = "SELECT pg_xact_status(CAST(%s AS xid8))"


@dataclass(frozen=True, slots=True)
class StartedTransaction:
    """A write transaction, as the server names it, and the process of its session there."""

    xid: str
    process: int


class CommitUnknown(OperationalError, UnknownCommit):
    """The connection was lost during a COMMIT, so only the server knows whether the transaction was committed."""

    def __init__(self, error: OperationalError, started: StartedTransaction) -> None:
        assert error.orig is not None, "it is an error of the driver"
        super().__init__(None, None, error.orig, hide_parameters=True)
        self.started = started


class CommitUnsettled(OperationalError):
    """The server does not know yet whether it commits a transaction."""


def was_committed(connection: Connection, started: StartedTransaction) -> bool:
    """Whether a transaction was committed, after which that does not change.

    Ends its session if that still runs. Raises the driver's own errors, and CommitUnsettled if it still runs after
    that.
    """
    connection.exec_driver_sql(_END_SESSION, (_PATIENCE_MS, started.process, started.xid)).all()
    try:
        status = connection.exec_driver_sql(_STATUS, (started.xid,)).scalar()
    except DBAPIError as error:
        if isinstance(original(error), errors.InvalidParameterValue):
            return False  # Its id is in the future: this server has not received it.
        raise
    if status == "in progress":
        why = errors.LockNotAvailable("the session of the last transaction has not ended yet")
        raise CommitUnsettled(None, None, why, hide_parameters=True)
    return bool(status == "committed")
