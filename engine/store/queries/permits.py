"""Permits in the store's rate rows. Every function runs inside a write transaction of the caller."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from engine.core import permit_rows, permits
from engine.core.accounts import canonical, place_of
from engine.core.permit_rows import TOKENS_PREFIX, PermitRows
from engine.core.permits import PermitGrant, PermitLimit, PermitRequest, PermitStart, PermitState
from engine.secrets import is_reference
from engine.store.dialect import Upsert
from engine.store.queries import quotas, shared_limits
from engine.store.queries.rates import RATE_PREFIX
from engine.store.queries.shared_limits import Limits
from engine.store.schema import rate_bucket

_ROWS = PermitRows(RATE_PREFIX)
IS_TOKENS = rate_bucket.c.name.startswith(TOKENS_PREFIX)
"""The condition for rows whose log holds tokens and not starts."""
_TOKENS = select(rate_bucket.c.name, rate_bucket.c.log).where(IS_TOKENS)
_READ = select(rate_bucket.c.name, rate_bucket.c.log).where(
    rate_bucket.c.name.in_(bindparam("names", expanding=True))
)
_HOLDERS = select(rate_bucket.c.name, rate_bucket.c.given).where(
    rate_bucket.c.name.in_(bindparam("names", expanding=True))
)
_GIVE = Upsert(
    rate_bucket,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name"], set_={"given": statement.excluded.given}
    ),
)
_WRITE = Upsert(
    rate_bucket,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name"], set_={"log": statement.excluded.log}
    ),
)


_OLDER = select(rate_bucket.c.name).where(rate_bucket.c.name.startswith(bindparam("beginning")))


def take(connection: Connection, request: PermitRequest, *, now: float) -> PermitGrant:
    """Grant the first calls of a request, as many as the limits and its cap have room for."""
    calls = request.calls
    if (cap := request.cap) is not None:
        # If the cap has no row, it is not set.
        room = quotas.room(connection, cap)
        calls = calls if room is None else calls[:room]
        if not calls:
            return PermitGrant((), inf, now, is_used_up=True)
    stored = _load(connection, [limit.name for limit in request.limits])
    before = {
        name: _load_under_older_names(connection, name) if state == PermitState() else state
        for name, state in stored.items()
    }
    limits = _find_effective_limits(connection, request)
    granted, after = permits.take(before, replace(request, calls=calls, limits=limits), now=now)
    _save(connection, stored, after)
    if cap is not None:
        quotas.spend(connection, cap, len(granted.slots))
    return granted


def share(connection: Connection, limits: Iterable[PermitLimit], holder: str) -> dict[str, Limits]:
    """Record the limits of a holder; returns the limits that apply to all holders, by name."""
    mine = {
        _ROWS.names(limit.name)[0]: (limit.rate_per_min, limit.tokens_per_min) for limit in limits
    }
    found = connection.execute(_HOLDERS, {"names": sorted(mine)})
    before = {row.name: shared_limits.decode(row.given) for row in found}
    after = shared_limits.update_holders(connection, before, mine, holder)
    changed = [
        {"name": row, "given": shared_limits.encode(held)}
        for row, held in after.items()
        if held != before.get(row, {})
    ]
    if changed:
        _GIVE.run(connection, changed)
    return {limit.name: shared_limits.lowest(after[_ROWS.names(limit.name)[0]]) for limit in limits}


def find_limited(connection: Connection, names: Iterable[str]) -> set[str]:
    """The names among these under which a live holder has a limit, of calls or of tokens.

    Names without a row, and those whose holders have all ended, are left out.
    """
    return {
        name
        for name in names
        if shared_limits.find_lowest(connection, _ROWS.names(name)[:1]) != (None, None)
    }


def settle(connection: Connection, start: PermitStart, *, taken: int) -> None:
    """Record how many tokens a call really took, in place of the estimate; 0 if it was never made.

    A call that was never made also gives back its request under the run's cap, if there is one.
    """
    before = _load(connection, start.names)
    _save(connection, before, permit_rows.settle(before, start, taken=taken))
    if start.cap is not None and not taken:
        quotas.spend(connection, start.cap, -1)


def move_back(connection: Connection, back_s: float) -> None:
    """Move the starts in token rows after the clock was set back by `back_s`; `clocks` moves those in rate rows."""
    rows = connection.execute(_TOKENS).all()
    _write(
        connection,
        {row: permits.shift_back(PermitState(tokens=log), back_s).tokens for row, log in rows},
    )


def _find_effective_limits(
    connection: Connection, request: PermitRequest
) -> tuple[PermitLimit, ...]:
    """The limits that apply to a request: the lowest of all holders that share them."""
    holder = " ".join(request.caller.split(" ")[:2])
    lowest = share(connection, request.limits, holder)
    return tuple(
        replace(one, rate_per_min=lowest[one.name][0], tokens_per_min=lowest[one.name][1])
        for one in request.limits
    )


def _load_under_older_names(connection: Connection, name: str) -> PermitState:
    """The calls to an address as older versions stored them: under its key's reference, after a colon.

    Which of several keys a reference meant is no longer known, so these calls count for each of them.
    """
    place = place_of(name)
    sort, colon, _ = place.partition(":")
    older: dict[str, None] = {}
    for prefix in (RATE_PREFIX, TOKENS_PREFIX):
        found = connection.execute(_OLDER, {"beginning": f"{prefix}{sort}{colon}"})
        older |= {one.removeprefix(prefix): None for one in found.scalars()}
    names = [one for one in older if _is_older_name(one, place)]
    return permits.merge(_load(connection, names).values())


def _is_older_name(older: str, place: str) -> bool:
    return any(
        canonical(older[:at]) == place
        for at, letter in enumerate(older)
        if letter == ":" and (at + 1 == len(older) or is_reference(older[at + 1 :]))
    )


def _load(connection: Connection, names: Sequence[str]) -> dict[str, PermitState]:
    if not names:
        return {}
    found = connection.execute(_READ, {"names": _ROWS.all_names(names)})
    return _ROWS.from_logs(names, {row.name: row.log for row in found})


def _save(
    connection: Connection, before: Mapping[str, PermitState], after: Mapping[str, PermitState]
) -> None:
    _write(connection, _ROWS.changes(before, after))


def _write(connection: Connection, logs: Mapping[str, str]) -> None:
    if logs:
        rows = [{"name": name, "log": log} for name, log in logs.items()]
        _WRITE.run(connection, rows)
