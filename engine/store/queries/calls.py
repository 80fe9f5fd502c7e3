"""Replies to calls within jobs: each run keeps one per key, and of the others only their usage.

In a run that asks everything again, only replies recorded since then count, in whichever process. Every function
runs inside a transaction of the caller.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import bindparam, exists, func, select, update
from sqlalchemy.engine import Connection

from engine.store.dialect import Upsert
from engine.store.queries import charges, usage
from engine.store.queries.queue import compress, decompress
from engine.store.queries.runs import RunRow
from engine.store.requests import CallReply
from engine.store.schema import call, run


class KeptReply(NamedTuple):
    """A stored reply, and when it was recorded."""

    response: bytes
    recorded_at: float


_own = run.alias("own")
_FRESH_AT = func.coalesce(
    select(_own.c.fresh_at).where(_own.c.id == bindparam("of_run")).scalar_subquery(), 0.0
)
_candidate = call.alias("candidate")
_KEPT = select(call.c.digest, call.c.response, call.c.recorded_at).where(
    call.c.digest.in_(bindparam("of_keys", expanding=True))
)
_KEPT_IN_RUN = _KEPT.where(call.c.run_id == bindparam("of_run"), call.c.recorded_at >= _FRESH_AT)
_BEST_RUN = (
    select(_candidate.c.run_id)
    .join(run, run.c.id == _candidate.c.run_id)
    .where(
        _candidate.c.digest == call.c.digest,
        _candidate.c.recorded_at >= _FRESH_AT,
        run.c.service == bindparam("of_service"),
    )
    .order_by((_candidate.c.run_id == bindparam("of_run")).desc(), _candidate.c.recorded_at.desc())
    .limit(1)
)
_KEPT_IN_ANY = _KEPT.where(call.c.run_id == _BEST_RUN.correlate(call).scalar_subquery())
_KEYS_AT_A_TIME = 500
_KEEP = Upsert(call, lambda statement: statement.on_conflict_do_nothing())
_OF_KEY = (call.c.run_id == bindparam("of_run"), call.c.digest == bindparam("of_key"))
_BEFORE = select(_FRESH_AT).where(exists().where(*_OF_KEY, call.c.recorded_at < _FRESH_AT))
_RECORDED_AT = select(call.c.recorded_at).where(*_OF_KEY)


def find(
    connection: Connection, run_id: int, digests: Iterable[bytes], service: str | None
) -> dict[bytes, KeptReply]:
    """Find the replies stored under these digests, by digest; those that are not stored are left out.

    The run's own replies go first. With a `service`, the latest reply in other runs of that service also counts.
    """
    query = _KEPT_IN_RUN if service is None else _KEPT_IN_ANY
    of = {"of_run": run_id} if service is None else {"of_run": run_id, "of_service": service}
    found = {}
    left = list(digests)
    while left:
        some, left = left[:_KEYS_AT_A_TIME], left[_KEYS_AT_A_TIME:]
        for row in connection.execute(query, {**of, "of_keys": some}):
            found[row.digest] = KeptReply(decompress(row.response), row.recorded_at)
    return found


def has_any(connection: Connection, of: RunRow, *, of_others: bool) -> bool:
    """Whether replies are stored that a run could use again; with `of_others`, also by other runs of its service.

    If the run asks everything again, only replies recorded since then count.
    """
    query = select(call.c.run_id).where(call.c.recorded_at >= (of.fresh_at or 0.0)).limit(1)
    if of_others:
        query = query.join(run).where(run.c.service == of.service)
    else:
        query = query.where(call.c.run_id == of.id)
    return connection.execute(query).first() is not None


def keep(connection: Connection, reply: CallReply) -> bool:
    """Store a reply and charge the tests that it opens.

    Returns False, and charges nothing, if the run already has a reply that counts. The call's usage is stored in
    either case.
    """
    of_key, took = _of_key(reply), reply.took
    values = {
        "response": compress(reply.response),
        "recorded_at": reply.recorded_at,
        **(asdict(took[-1]) if took else dict.fromkeys(usage.COLUMNS)),
    }
    row = {"run_id": reply.run_id, "digest": reply.digest, **values}
    is_new = _KEEP.run(connection, [row]) > 0
    if not is_new:
        fresh_at = connection.execute(_BEFORE, of_key).scalar()
        # A reply that is itself from before that time does not replace another.
        if fresh_at is not None and reply.recorded_at >= fresh_at:
            usage.keep_replaced(connection, reply.run_id, reply.digest, before=fresh_at)
            connection.execute(update(call).where(*_OF_KEY).values(values), of_key)
            is_new = True
    without_reply = took[:-1] if is_new else took
    usage.keep_without_reply(connection, reply.run_id, without_reply, now=reply.recorded_at)
    if is_new and reply.charge is not None:
        charges.charge(connection, reply.charge)
    return is_new


def recover(connection: Connection, replies: Sequence[CallReply]) -> int:
    """Store the replies of a side file, some of which may be stored already; returns how many are new.

    The usage of each call is counted only once.
    """
    counted = usage.find_without_reply(connection, {one.run_id for one in replies})
    count = 0
    for one in replies:
        if connection.execute(_RECORDED_AT, _of_key(one)).scalar() == one.recorded_at:
            continue
        is_counted = (one.run_id, one.recorded_at) in counted
        count += keep(connection, replace(one, took=()) if is_counted else one)
    return count


def digest(key: Mapping[str, Any]) -> bytes:
    """The digest under which the reply to a call is stored.

    `key` must be JSON data; the order of its entries does not matter.
    """
    return sha256(json.dumps(key, sort_keys=True).encode()).digest()


def _of_key(reply: CallReply) -> dict[str, Any]:
    return {"of_run": reply.run_id, "of_key": reply.digest}
