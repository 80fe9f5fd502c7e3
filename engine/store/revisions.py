"""The revisions of the schema: where they are, which are known, and how a database is upgraded."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sqlalchemy import create_mock_engine
from sqlalchemy.engine import Connection, Dialect

from engine.core.errors import StoreError
from engine.store.schema import HEAD, metadata

# As Alembic creates it. In a store that was downgraded completely by hand, it exists and is empty.
_VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""


def migrations_folder() -> Path:
    """The folder of the revisions: `engine/store/migrations` in a wheel, `alembic` in a checkout."""
    installed = Path(__file__).with_name("migrations")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "alembic"


@cache
def schema(dialect: type[Dialect]) -> Sequence[str]:
    """The statements that create an empty store: the tables, each after those that it refers to, and the triggers."""
    made = [_VERSION_TABLE]
    database = create_mock_engine(
        f"{dialect.name}://",
        lambda statement, *_, **__: made.append(str(statement.compile(dialect=dialect()))),
    )
    metadata.create_all(database, checkfirst=False)
    return made


def check_known(store: object, found: str) -> None:
    """Raise StoreError for a store of a newer version."""
    # Importing Alembic takes a tenth of a second, so it is imported only when needed.
    from alembic.script import ScriptDirectory

    revisions = ScriptDirectory(str(migrations_folder())).walk_revisions()
    if found not in {script.revision for script in revisions}:
        raise StoreError(
            f"{store}: was written by a newer version of Nightsweep (schema {found}, this one knows"
            f" up to {HEAD}); upgrade with `pip install -U nightsweep`"
        )


def upgrade(connection: Connection) -> None:
    """Run the revisions that a database lacks, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
