"""The names of accounts in a store: the salt of them, unlike any other store's, and what goes on under a new name.

Every function runs inside a write transaction of the caller's.
"""

import secrets

from sqlalchemy import select
from sqlalchemy.engine import Connection

from engine.core.accounts import SALT_BYTES, Accounts
from engine.store.dialect import insert
from engine.store.queries import rates, reservations
from engine.store.schema import store_value

_NAME = "salt of accounts"


def accounts(connection: Connection) -> Accounts:
    """What names accounts in this store."""
    made = {"name": _NAME, "value": secrets.token_hex(SALT_BYTES)}
    connection.execute(insert(connection, store_value).values(**made).on_conflict_do_nothing())
    kept = connection.execute(select(store_value.c.value).where(store_value.c.name == _NAME))
    return Accounts(bytes.fromhex(kept.scalar_one()))


def carry_over(connection: Connection, told: str, account: str) -> None:
    """Let what older versions kept of an account hold on: they named it as it is told to people.

    That is what was started in the last minute, until when it was asked to wait, and what is used and held.
    """
    if told != account:
        reservations.rename(connection, told, account)
        rates.rename(connection, told, account)
