"""Replies of calls within jobs: in each run one is kept for a key, and of the others what they took.

A run that asks everything again counts only those that came since, whichever process asks: it may have
read the run before. Runs inside a transaction of the caller's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from sqlalchemy import bindparam, exists, func, select, update
from sqlalchemy.engine import Connection

from engine.core.money import Usage
from engine.store import usage
from engine.store.dialect import Upsert
from engine.store.queue import compress, decompress
from engine.store.schema import call, run

_own = run.alias("own")
_FRESH_AT = func.coalesce(
    select(_own.c.fresh_at).where(_own.c.id == bindparam("of_run")).scalar_subquery(), 0.0
)
_KEPT = (
    select(call.c.response, call.c.recorded_at)
    .where(call.c.digest == bindparam("of_key"), call.c.recorded_at >= _FRESH_AT)
    .order_by((call.c.run_id == bindparam("of_run")).desc(), call.c.recorded_at.desc())
    .limit(1)
)
_KEPT_IN_RUN = _KEPT.where(call.c.run_id == bindparam("of_run"))
_KEPT_IN_ANY = _KEPT.join(run, run.c.id == call.c.run_id).where(
    run.c.service == bindparam("of_service")
)
_KEEP = Upsert(call, lambda statement: statement.on_conflict_do_nothing())
_OF_KEY = (call.c.run_id == bindparam("of_run"), call.c.digest == bindparam("of_key"))
_BEFORE = select(_FRESH_AT).where(exists().where(*_OF_KEY, call.c.recorded_at < _FRESH_AT))


def kept(
    connection: Connection, run_id: int, key: Mapping[str, Any], service: str | None
) -> tuple[bytes, float] | None:
    """The response kept under `key` in a run, with a `service` also in others of it: else the latest; when it came."""
    wanted = {"of_run": run_id, "of_key": _digest(key)}
    if service is None:
        found = connection.execute(_KEPT_IN_RUN, wanted).first()
    else:
        found = connection.execute(_KEPT_IN_ANY, {**wanted, "of_service": service}).first()
    return None if found is None else (decompress(found.response), found.recorded_at)


def keep(
    connection: Connection,
    run_id: int,
    key: Mapping[str, Any],
    response: bytes,
    took: Sequence[Usage],
    *,
    now: float,
) -> bool:
    """Keep a response under `key`; False where one that counts is kept already.

    What calls `took` is kept in any case; the last of them gave the response.
    """
    of_key = {"of_run": run_id, "of_key": _digest(key)}
    values = {
        "response": compress(response),
        "recorded_at": now,
        **(asdict(took[-1]) if took else dict.fromkeys(usage.COLUMNS)),
    }
    row = {"run_id": run_id, "digest": of_key["of_key"], **values}
    is_new = connection.execute(_KEEP.on(connection), row).rowcount > 0
    if not is_new and (fresh_at := connection.execute(_BEFORE, of_key).scalar()) is not None:
        usage.keep_replaced(connection, run_id, row["digest"], before=fresh_at)
        connection.execute(update(call).where(*_OF_KEY).values(values), of_key)
        is_new = True
    usage.keep_without_reply(connection, run_id, took[:-1] if is_new else took, now=now)
    return is_new


def _digest(key: Mapping[str, Any]) -> bytes:
    """Under what a call is kept."""
    return sha256(json.dumps(key, sort_keys=True).encode()).digest()
