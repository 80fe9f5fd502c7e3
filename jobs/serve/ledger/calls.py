"""Statements on the replies of unfinished evaluations, and on the rates of the endpoints that gave them."""

from collections.abc import Mapping, Sequence
from secrets import token_bytes
from zlib import compress, decompress

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection
from sqlalchemy.sql.functions import count

from engine.core import permit_rows, permits
from engine.core.accounts import SALT_BYTES
from engine.core.permit_rows import PermitRows
from engine.core.permits import PermitGrant, PermitRequest, PermitStart, PermitState
from engine.kinds import Accounts
from jobs.serve.ledger.schema import call, rate, salt

_ROWS = PermitRows()


def load_accounts(connection: Connection) -> Accounts:
    """The names of endpoints' accounts in this ledger, which depend on its salt.

    The first call makes the salt, within the caller's transaction; it never changes after that.
    """
    new = insert(salt).values(id=1, value=token_bytes(SALT_BYTES))
    connection.execute(new.on_conflict_do_nothing())
    return Accounts(connection.execute(select(salt.c.value)).scalar_one())


def list_digests(connection: Connection, scope: str) -> set[str]:
    """The digests of the calls whose responses are saved in a scope."""
    return set(connection.execute(select(call.c.digest).where(call.c.scope == scope)).scalars())


def find_response(connection: Connection, scope: str, digest: str) -> bytes | None:
    """The response saved under a digest in a scope, unpacked; None if there is none."""
    found = connection.execute(
        select(call.c.response).where(call.c.scope == scope, call.c.digest == digest)
    ).scalar()
    return None if found is None else decompress(found)


def count_charged(connection: Connection, scope: str) -> int:
    """The number of responses in a scope that were charged as test cases, of an evaluation that is not complete."""
    found = select(count()).where(call.c.scope == scope, call.c.is_test)
    return connection.execute(found).scalar_one()


def save_response(
    connection: Connection, scope: str, digest: str, response: bytes, *, is_test: bool, now: float
) -> bool:
    """Save a response; `is_test` says that it is charged as a test case. `now` is in epoch seconds.

    Returns False, and changes nothing, if the scope has one under this digest.
    """
    inserted = connection.execute(
        insert(call)
        .values(
            scope=scope,
            digest=digest,
            response=compress(response),
            is_test=is_test,
            recorded_at=now,
        )
        .on_conflict_do_nothing()
    )
    return bool(inserted.rowcount)


def delete_scope(connection: Connection, scope: str) -> None:
    """Delete the responses of a scope, whose evaluation is complete."""
    connection.execute(delete(call).where(call.c.scope == scope))


def delete_before(connection: Connection, time: float) -> None:
    """Delete the responses recorded before `time` (epoch seconds), left by evaluations that were not requested again.

    What they cost stays charged.
    """
    connection.execute(delete(call).where(call.c.recorded_at < time))


def take_permits(connection: Connection, request: PermitRequest, *, now: float) -> PermitGrant:
    """Grant the first calls of a request, as many as its limits allow at `now`, and count them.

    The grant has the starts in the order of the calls, or else when to ask again. The request must have no
    cap.
    """
    assert request.cap is None, "a cap belongs to a run"
    before = _read_permits(connection, [limit.name for limit in request.limits])
    granted, after = permits.take(before, request, now=now)
    _write_permits(connection, before, after)
    return granted


def settle_permit(connection: Connection, start: PermitStart, *, taken: int) -> None:
    """Record the tokens that a call took in place of its estimate; 0 if it was not made, which frees its slot."""
    before = _read_permits(connection, start.names)
    _write_permits(connection, before, permit_rows.settle(before, start, taken=taken))


def _read_permits(connection: Connection, names: Sequence[str]) -> dict[str, PermitState]:
    query = select(rate.c.name, rate.c.log).where(rate.c.name.in_(_ROWS.all_names(names)))
    return _ROWS.from_logs(names, {row.name: row.log for row in connection.execute(query)})


def _write_permits(
    connection: Connection, before: Mapping[str, PermitState], after: Mapping[str, PermitState]
) -> None:
    for row, log in _ROWS.changes(before, after).items():
        connection.execute(
            insert(rate)
            .values(name=row, log=log)
            .on_conflict_do_update(index_elements=["name"], set_={"log": log})
        )
