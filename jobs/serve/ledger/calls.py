"""Replies that were paid for, and the rates of the endpoints that gave them."""

from zlib import compress, decompress

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection
from sqlalchemy.sql.functions import count

from engine.core import rates
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


def take_permit(connection: Connection, name: str, *, rate_per_min: int, now: float) -> float:
    """Take one start within a rate: the time it may happen at, or asks again at if later than now."""
    written = connection.execute(select(rate.c.log).where(rate.c.name == name)).scalar()
    log = rates.EMPTY if written is None else rates.decode(written)
    taken = rates.take(log, now=now, rate_per_min=rate_per_min, want=1)
    encoded = rates.encode(taken.log)
    connection.execute(
        insert(rate)
        .values(name=name, log=encoded)
        .on_conflict_do_update(index_elements=["name"], set_={"log": encoded})
    )
    return taken.slots[0] if taken.slots else taken.next_at
