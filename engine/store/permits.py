"""Permits in the store's rate rows. Every function runs inside a write transaction of the caller's."""

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from engine.core import permits
from engine.core.permits import Granted, Kept, PermitRequest
from engine.store.dialect import Upsert
from engine.store.schema import rate_bucket

_READ = select(rate_bucket.c.name, rate_bucket.c.log).where(
    rate_bucket.c.name.in_(bindparam("names", expanding=True))
)
_WRITE = Upsert(
    rate_bucket,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name"], set_={"log": statement.excluded.log}
    ),
)


def take(connection: Connection, request: PermitRequest, *, now: float) -> Granted:
    """Grant the first calls of a request, as many as there is room for."""
    before = _load(connection, request.name)
    granted, after = permits.take(before, request, now=now)
    _save(connection, request.name, before, after)
    return granted


def settle(connection: Connection, name: str, *, at: float, estimate: int, taken: int) -> None:
    """Keep what a call that started `at` really took; 0: it was never made."""
    before = _load(connection, name)
    _save(connection, name, before, permits.settle(before, at=at, estimate=estimate, taken=taken))


def _rows(name: str) -> tuple[str, str]:
    """The rows of the rate and of the tokens."""
    return f"permit {name}", f"tokens {name}"


def _load(connection: Connection, name: str) -> Kept:
    rate, tokens = _rows(name)
    found = {row.name: row.log for row in connection.execute(_READ, {"names": [rate, tokens]})}
    return Kept(found.get(rate, ""), found.get(tokens, ""))


def _save(connection: Connection, name: str, before: Kept, after: Kept) -> None:
    rate, tokens = _rows(name)
    logs = ((rate, before.rate, after.rate), (tokens, before.tokens, after.tokens))
    changed = [{"name": row, "log": new} for row, old, new in logs if new != old]
    if changed:
        connection.execute(_WRITE.on(connection), changed)
