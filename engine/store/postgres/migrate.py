"""Creating the tables of a store, and migrating those of an older version.

A migration is one transaction under an advisory lock, so that several processes may open the store at once. A new
store is created from the declared tables, without the revisions.
"""

import logging
from contextlib import closing
from typing import Any

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import StaticPool

from engine.core.addresses import ServerAddress
from engine.core.errors import StoreError
from engine.store.postgres.connections import connect
from engine.store.postgres.errors import explain
from engine.store.postgres.locks import LOCK_MIGRATION
from engine.store.revisions import check_known, schema, upgrade
from engine.store.schema import HEAD, metadata

logger = logging.getLogger(__name__)


def migrate(address: ServerAddress) -> None:
    """Create the tables in an empty schema, or migrate older ones.

    Raises StoreError for a store of a newer version, for tables of another program, and if the server cannot be
    reached or the migration fails; the database is then unchanged. Blocking: call it in a thread.
    """
    try:
        with closing(connect(address)) as connection:
            if read_revision(connection, address) == HEAD:
                return
            connection.rollback()
            connection.execute(LOCK_MIGRATION)
            found = read_revision(connection, address)
            if found is None:
                _create(connection)
            elif found != HEAD:
                check_known(address, found)
                _upgrade(connection)
                logger.info("%s: migrated from revision %s to %s", address, found, HEAD)
            connection.commit()
    except psycopg.Error as error:
        raise explain(error, address) from error


def read_revision(connection: psycopg.Connection[Any], address: ServerAddress) -> str | None:
    """The store's revision; None without tables. Raises StoreError for tables of another program."""
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(current_schema())"
    )
    tables = {name for (name,) in found}
    if not tables & {*metadata.tables, "alembic_version"}:
        return None
    if not {"alembic_version", "run", "job", "store_value"} <= tables:
        raise StoreError(
            f"{address}: has tables of another program in the schema; name another database, or a schema with"
            " ?options=-csearch_path%3DNAME"
        )
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _upgrade(connection: psycopg.Connection[Any]) -> None:
    database = create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool
    )
    with database.begin() as within:
        # It is the transaction of the lock, which ends here.
        upgrade(within)


def _create(connection: psycopg.Connection[Any]) -> None:
    for statement in schema(postgresql.dialect):
        connection.execute(statement)
    connection.execute("INSERT INTO alembic_version (version_num) VALUES (%s)", (HEAD,))
