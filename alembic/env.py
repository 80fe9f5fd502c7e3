"""Run the migrations on the connection that the store passes, or on the file of `-x store=FILE`."""

from alembic import context
from sqlalchemy import URL, create_engine
from sqlalchemy.engine import Connection


def migrate(connection: Connection) -> None:
    from engine.store.schema import metadata

    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=False,
    )
    context.run_migrations()


passed = context.config.attributes.get("connection")
if passed is not None:
    migrate(passed)
else:
    store = context.get_x_argument(as_dictionary=True)["store"]
    with create_engine(URL.create("sqlite", database=store)).begin() as connection:
        migrate(connection)
