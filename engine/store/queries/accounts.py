"""The names of accounts in a store: their salt, which is the store's own, and the move to a new name.

Every function runs inside a write transaction of the caller.
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
    """The names of accounts in this store; creates the store's salt if it has none.

    The salt makes the names of one key differ between stores, so that they cannot be compared.
    """
    made = {"name": _NAME, "value": secrets.token_hex(SALT_BYTES)}
    connection.execute(insert(connection, store_value).values(**made).on_conflict_do_nothing())
    kept = connection.execute(select(store_value.c.value).where(store_value.c.name == _NAME))
    return Accounts(bytes.fromhex(kept.scalar_one()))


def rename_account(connection: Connection, display_name: str, account: str) -> None:
    """Move the rates and quota that older versions stored under an account's display name to its present name.

    That covers the starts of the last minute, a Retry-After that has not passed, and used and reserved quota.
    """
    if display_name != account:
        reservations.rename(connection, display_name, account)
        rates.rename(connection, display_name, account)
