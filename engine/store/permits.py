"""Permits in the store's rate rows. Every function runs inside a write transaction of the caller's."""

from collections.abc import Mapping

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from engine.core import permits
from engine.core.permits import Granted, Kept, PermitRequest
from engine.store.dialect import Upsert
from engine.store.schema import rate_bucket

_TOKENS_PREFIX = "tokens "
IS_TOKENS = rate_bucket.c.name.startswith(_TOKENS_PREFIX)
"""Of the rows whose log is not that of a rate."""
_TOKENS = select(rate_bucket.c.name, rate_bucket.c.log).where(IS_TOKENS)
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


def move_back(connection: Connection, back_s: float) -> None:
    """Bring the starts of tokens nearer after the clock was set back; those of rates lie in rows of rates."""
    rows = connection.execute(_TOKENS).all()
    _write(
        connection,
        {row: permits.moved(Kept(tokens=log), back_s).tokens for row, log in rows},
    )


def _rows(name: str) -> tuple[str, str]:
    """The rows of the rate and of the tokens."""
    return f"permit {name}", f"{_TOKENS_PREFIX}{name}"


def _load(connection: Connection, name: str) -> Kept:
    rate, tokens = _rows(name)
    found = {row.name: row.log for row in connection.execute(_READ, {"names": [rate, tokens]})}
    return Kept(found.get(rate, ""), found.get(tokens, ""))


def _save(connection: Connection, name: str, before: Kept, after: Kept) -> None:
    rate, tokens = _rows(name)
    logs = ((rate, before.rate, after.rate), (tokens, before.tokens, after.tokens))
    _write(connection, {row: new for row, old, new in logs if new != old})


def _write(connection: Connection, logs: Mapping[str, str]) -> None:
    if logs:
        rows = [{"name": name, "log": log} for name, log in logs.items()]
        connection.execute(_WRITE.on(connection), rows)
