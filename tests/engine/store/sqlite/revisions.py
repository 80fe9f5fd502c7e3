"""The revisions of the schema by hand, as Alembic's own command runs them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine

from engine.store.revisions import migrations_folder


def config() -> Config:
    """Alembic's configuration for the revisions of the store."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    return config


def upgrade(path: Path, revision: str = "head") -> None:
    """Bring a database to a later revision; an empty one goes through all of them."""
    _move(command.upgrade, path, revision)


def downgrade(path: Path, revision: str) -> None:
    """Take a database back to an earlier revision."""
    _move(command.downgrade, path, revision)


def _move(move: Callable[[Config, str], None], path: Path, revision: str) -> None:
    database = create_engine(f"sqlite:///{path}")
    try:
        move_on(move, database, revision)
    finally:
        database.dispose()


def move_on(move: Callable[[Config, str], None], database: Engine, revision: str) -> None:
    """Upgrade or downgrade a database to a revision, in one transaction."""
    settings = config()
    with database.begin() as connection:
        settings.attributes["connection"] = connection
        move(settings, revision)


def first_store(path: Path) -> Path:
    """A store of revision 0001 as the first version left it, with runs, jobs and results."""
    dump = Path(__file__).with_name("revision_0001.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump)
    return path
