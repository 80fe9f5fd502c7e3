"""The salt with which a store names accounts: made once, kept in the store, and unlike any other's.

Runs inside a write transaction of the caller's.
"""

import secrets

from sqlalchemy import select
from sqlalchemy.engine import Connection

from engine.core.accounts import SALT_BYTES, Accounts
from engine.store.dialect import insert
from engine.store.schema import store_value

_NAME = "salt of accounts"


def accounts(connection: Connection) -> Accounts:
    """What names accounts in this store."""
    made = {"name": _NAME, "value": secrets.token_hex(SALT_BYTES)}
    connection.execute(insert(connection, store_value).values(**made).on_conflict_do_nothing())
    kept = connection.execute(select(store_value.c.value).where(store_value.c.name == _NAME))
    return Accounts(bytes.fromhex(kept.scalar_one()))
