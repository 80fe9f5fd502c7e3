"""Replies that were paid for, and the rates of the endpoints that gave them."""

from zlib import compress, decompress

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection
from sqlalchemy.sql.functions import count

from engine.core import permits
from engine.core.permits import Granted, Kept, PermitRequest
from jobs.serve.ledger.schema import call, rate


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
    before = _permits(connection, request.name)
    granted, after = permits.take(before, request, now=now)
    _keep_permits(connection, request.name, before, after)
    return granted


def settle_permit(
    connection: Connection, name: str, *, at: float, estimate: int, taken: int
) -> None:
    """Keep what a call that started `at` really took; 0: it was never made."""
    before = _permits(connection, name)
    after = permits.settle(before, at=at, estimate=estimate, taken=taken)
    _keep_permits(connection, name, before, after)


def _tokens_of(name: str) -> str:
    """The row of the tokens, beside the row of the rate, which has the name itself."""
    return f"tokens {name}"


def _permits(connection: Connection, name: str) -> Kept:
    query = select(rate.c.name, rate.c.log).where(rate.c.name.in_([name, _tokens_of(name)]))
    found = {row.name: row.log for row in connection.execute(query)}
    return Kept(found.get(name, ""), found.get(_tokens_of(name), ""))


def _keep_permits(connection: Connection, name: str, before: Kept, after: Kept) -> None:
    logs = ((name, before.rate, after.rate), (_tokens_of(name), before.tokens, after.tokens))
    for row, old, new in logs:
        if new != old:
            connection.execute(
                insert(rate)
                .values(name=row, log=new)
                .on_conflict_do_update(index_elements=["name"], set_={"log": new})
            )
