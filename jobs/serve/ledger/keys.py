"""The keys of the service: made, found by what a request carries, changed, revoked."""

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
# It is written into logs as it is.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
ALLOTMENT_MAX = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as the ledger knows it: `groups` it may use, None for all; times are epoch seconds."""

    id: int
    name: str
    allotment: int
    groups: tuple[str, ...] | None
    created_at: float
    revoked_at: float | None

    def may_use(self, group: str) -> bool:
        """Whether a group of test cases is open to this key."""
        return self.groups is None or group in self.groups


def create(
    connection: Connection,
    name: str,
    *,
    allotment: int,
    groups: Sequence[str] | None,
    now: float,
) -> str:
    """Make a key and return its text, which is kept nowhere; raises UsageError for a wrong name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a key: write 1 to 64 letters, digits and . _ @ -, the"
            " first a letter or a digit"
        )
    text = _PREFIX + token_urlsafe(_BYTES)
    try:
        connection.execute(
            api_key.insert().values(
                name=name,
                digest=_digest(text),
                allotment=_checked(allotment),
                groups=_spelt(groups),
                created_at=now,
            )
        )
    except IntegrityError:
        raise UsageError(
            f"there is a key {name} already: change it with `keys set`, or choose another name"
        ) from None
    return text


def find(connection: Connection, text: str) -> Key | None:
    """The key that a request carries; None if there is none or it was revoked."""
    rows = connection.execute(
        select(api_key).where(api_key.c.digest == _digest(text), api_key.c.revoked_at.is_(None))
    )
    row = rows.first()
    return None if row is None else _key(row)


def all_of(connection: Connection) -> list[Key]:
    """Every key, in the order in which they were made."""
    return [_key(row) for row in connection.execute(select(api_key).order_by(api_key.c.id))]


def revoke(connection: Connection, name: str, *, now: float) -> None:
    """Refuse a key from now on; once revoked it stays so."""
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
    """Change what a key may use; what is None stays."""
    values: dict[str, int | str | None] = {}
    if allotment is not None:
        values["allotment"] = _checked(allotment)
    if groups is not None or all_groups:
        values["groups"] = None if all_groups else _spelt(groups)
    _require(connection, name)
    if values:
        connection.execute(update(api_key).where(api_key.c.name == name).values(**values))


def _require(connection: Connection, name: str) -> None:
    known = [key.name for key in all_of(connection)]
    if name not in known:
        raise UsageError(f"there is no key {name}; there are: {', '.join(known) or 'none yet'}")


def _checked(allotment: int) -> int:
    if not 0 <= allotment <= ALLOTMENT_MAX:
        raise UsageError(f"an allotment is between 0 and {ALLOTMENT_MAX} test cases a month")
    return allotment


def _spelt(groups: Sequence[str] | None) -> str | None:
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
