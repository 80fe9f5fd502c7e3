"""Replies that were paid for, and the rates of the endpoints that gave them."""

from collections.abc import Mapping, Sequence
from secrets import token_bytes
from zlib import compress, decompress

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection
from sqlalchemy.sql.functions import count

from engine.core import permit_rows, permits
from engine.core.accounts import SALT_BYTES, Accounts
from engine.core.permit_rows import PermitRows
from engine.core.permits import Granted, Kept, PermitRequest, PermitStart
from jobs.serve.ledger.schema import call, rate, salt

_ROWS = PermitRows()


def accounts(connection: Connection) -> Accounts:
    """What names the accounts of endpoints in this ledger."""
    made = insert(salt).values(id=1, value=token_bytes(SALT_BYTES))
    connection.execute(made.on_conflict_do_nothing())
    return Accounts(connection.execute(select(salt.c.value)).scalar_one())


def digests(connection: Connection, scope: str) -> set[str]:
    """What is kept in a scope."""
    return set(connection.execute(select(call.c.digest).where(call.c.scope == scope)).scalars())


def kept(connection: Connection, scope: str, digest: str) -> bytes | None:
    """The response kept under a digest in a scope."""
    found = connection.execute(
        select(call.c.response).where(call.c.scope == scope, call.c.digest == digest)
    ).scalar()
    return None if found is None else decompress(found)


def kept_tests(connection: Connection, scope: str) -> int:
    """How many replies of a scope have been charged."""
    found = select(count()).where(call.c.scope == scope, call.c.is_test)
    return connection.execute(found).scalar_one()


def keep(
    connection: Connection, scope: str, digest: str, response: bytes, *, is_test: bool, now: float
) -> bool:
    """Keep a response; False where there is one already, which stays."""
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


def forget(connection: Connection, scope: str) -> None:
    """Drop a scope: its evaluation has its answer."""
    connection.execute(delete(call).where(call.c.scope == scope))


def forget_before(connection: Connection, time: float) -> None:
    """Drop what evaluations left behind that nobody asked for again."""
    connection.execute(delete(call).where(call.c.recorded_at < time))


def take_permits(connection: Connection, request: PermitRequest, *, now: float) -> Granted:
    """Grant the first calls of a request, as many as there is room for."""
    assert request.cap is None, "a cap belongs to a run"
    before = _permits(connection, [limit.name for limit in request.limits])
    granted, after = permits.take(before, request, now=now)
    _keep_permits(connection, before, after)
    return granted


def settle_permit(connection: Connection, start: PermitStart, *, taken: int) -> None:
    """Keep what a call really took; 0: it was never made."""
    before = _permits(connection, start.names)
    _keep_permits(connection, before, permit_rows.settle(before, start, taken=taken))


def _permits(connection: Connection, names: Sequence[str]) -> dict[str, Kept]:
    query = select(rate.c.name, rate.c.log).where(rate.c.name.in_(_ROWS.all_names(names)))
    return _ROWS.kept(names, {row.name: row.log for row in connection.execute(query)})


def _keep_permits(
    connection: Connection, before: Mapping[str, Kept], after: Mapping[str, Kept]
) -> None:
    for row, log in _ROWS.changed(before, after).items():
        connection.execute(
            insert(rate)
            .values(name=row, log=log)
            .on_conflict_do_update(index_elements=["name"], set_={"log": log})
        )
