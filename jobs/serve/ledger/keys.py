"""Statements on the service's keys: create, find, list, change, revoke."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_urlsafe

from sqlalchemy import Row, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from engine.kinds import UsageError
from jobs.serve.ledger.schema import api_key

_PREFIX = "nsk_"
_BYTES = 32
# Logs show the name unescaped.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
ALLOTMENT_MAX = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key: its test cases a month, the `groups` that it may use (None for all); times in epoch seconds."""

    id: int
    name: str
    allotment: int
    groups: tuple[str, ...] | None
    created_at: float
    revoked_at: float | None

    def may_use(self, group: str) -> bool:
        """Whether the key may use a group of test cases; the group need not exist."""
        return self.groups is None or group in self.groups


def create(
    connection: Connection,
    name: str,
    *,
    allotment: int,
    groups: Sequence[str] | None,
    now: float,
) -> str:
    """Create a key and return its text, of which only a hash is stored.

    Raises UsageError if the name is malformed or taken, or the allotment is out of bounds.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a key: use 1 to 64 letters, digits and . _ @ -, starting with"
            " a letter or a digit"
        )
    text = _PREFIX + token_urlsafe(_BYTES)
    try:
        connection.execute(
            api_key.insert().values(
                name=name,
                digest=_digest(text),
                allotment=_check_allotment(allotment),
                groups=_to_json(groups),
                created_at=now,
            )
        )
    except IntegrityError:
        raise UsageError(
            f"the key {name} exists already; change it with `keys set`, or choose another name"
        ) from None
    return text


def find(connection: Connection, text: str) -> Key | None:
    """The key with this text, None if it is unknown or revoked; it is found by its hash."""
    rows = connection.execute(
        select(api_key).where(api_key.c.digest == _digest(text), api_key.c.revoked_at.is_(None))
    )
    row = rows.first()
    return None if row is None else _key(row)


def list_keys(connection: Connection) -> list[Key]:
    """Every key, oldest first."""
    return [_key(row) for row in connection.execute(select(api_key).order_by(api_key.c.id))]


def revoke(connection: Connection, name: str, *, now: float) -> None:
    """Revoke a key for good; one that is revoked already keeps its time. `now` is in epoch seconds.

    A running service refuses it from the next request on. Raises UsageError if it does not exist.
    """
    changed = connection.execute(
        update(api_key)
        .where(api_key.c.name == name, api_key.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    if not changed.rowcount:
        _require(connection, name)


def change(
    connection: Connection,
    name: str,
    *,
    allotment: int | None = None,
    groups: Sequence[str] | None = None,
    all_groups: bool = False,
) -> None:
    """Change what a key may use; None leaves a value unchanged. Raises UsageError as `create` does.

    `allotment` is in test cases a month, `all_groups` comes before `groups`. It applies to the next
    request, also of a running service; what was used this month stays.
    """
    values: dict[str, int | str | None] = {}
    if allotment is not None:
        values["allotment"] = _check_allotment(allotment)
    if groups is not None or all_groups:
        values["groups"] = None if all_groups else _to_json(groups)
    _require(connection, name)
    if values:
        connection.execute(update(api_key).where(api_key.c.name == name).values(**values))


def _require(connection: Connection, name: str) -> None:
    known = [key.name for key in list_keys(connection)]
    if name not in known:
        raise UsageError(f"there is no key {name}; the keys are: {', '.join(known) or 'none yet'}")


def _check_allotment(allotment: int) -> int:
    if not 0 <= allotment <= ALLOTMENT_MAX:
        raise UsageError(
            f"{allotment} is not an allotment; give between 0 and {ALLOTMENT_MAX} test cases a month"
        )
    return allotment


def _to_json(groups: Sequence[str] | None) -> str | None:
    return None if groups is None else json.dumps(sorted(set(groups)))


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _key(row: Row[tuple[object, ...]]) -> Key:
    groups = row.groups
    return Key(
        id=row.id,
        name=row.name,
        allotment=row.allotment,
        groups=None if groups is None else tuple(json.loads(groups)),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
