"""Errors of PostgreSQL and of the connection to it, in the user's words."""

from psycopg import Error, errors

from engine.core.addresses import ServerAddress
from engine.core.errors import StoreError

_LOST = (
    # The server says why it ends a connection, or refuses one.
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.ConnectionException,
    errors.ConnectionFailure,
    errors.IdleSessionTimeout,
)
_PASSING = (
    *_LOST,
    errors.TooManyConnections,
    # A former primary after a failover.
    errors.ReadOnlySqlTransaction,
    # Another transaction is in the way.
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    # Space may be freed.
    errors.DiskFull,
    errors.OutOfMemory,
)


def original(error: BaseException) -> BaseException:
    """The driver's error behind one of SQLAlchemy."""
    return getattr(error, "orig", None) or error


def is_connection_lost(error: BaseException) -> bool:
    """Whether an error shows that there is no connection to the server."""
    found = original(error)
    if isinstance(found, _LOST):
        return True
    return isinstance(found, errors.OperationalError) and found.sqlstate is None


def is_passing(error: BaseException) -> bool:
    """Whether an error may go away by itself."""
    return is_connection_lost(error) or isinstance(original(error), _PASSING)


def explain(error: BaseException, address: ServerAddress) -> StoreError:
    """Translate an error of the driver into the user's words, with what to do."""
    found = original(error)
    text = _first_line(found)
    match found:
        case errors.ForeignKeyViolation():
            return StoreError(
                f"{address}: the run that this process was executing was deleted ({text})"
            )
        case errors.LockNotAvailable():
            return StoreError(f"{address}: another process has locked the store for too long")
        case errors.QueryCanceled():
            return StoreError(f"{address}: a statement was interrupted")
        case errors.InsufficientPrivilege():
            return StoreError(f"{address}: the role may not use the store: {text}")
        case errors.DiskFull():
            return StoreError(f"{address}: the server's disk is full: {text}")
        case Error() if is_connection_lost(found):
            return StoreError(f"{address}: cannot reach the server: {text}")
    return StoreError(f"{address}: {text}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(line.strip() for line in lines[:2]) if lines else type(error).__name__
