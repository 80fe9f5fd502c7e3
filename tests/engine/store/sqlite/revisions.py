"""The revisions of the schema by hand, as Alembic's own command runs them."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from engine.store.sqlite.migrate import migrations_folder


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
    settings = config()
    database = create_engine(f"sqlite:///{path}")
    try:
        with database.begin() as connection:
            settings.attributes["connection"] = connection
            move(settings, revision)
    finally:
        database.dispose()
