"""Lets all databases that a process opens share the statements that SQLAlchemy has compiled.

Each database that is opened would otherwise compile its statements again, some hundred in a test that runs a sweep,
which takes more CPU time than the test itself. A command opens one database, so only tests gain from this.
"""

from typing import Any

from sqlalchemy import Connection, Engine, event


class _SharedStatements(dict[Any, Any]):
    """Statements by what they say and the kind of driver, of which every opened database has an instance."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_any_database(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(_of_any_database(key), compiled)


def _of_any_database(key: Any) -> Any:
    dialect, *statement = key
    return type(dialect), *statement


_STATEMENTS = _SharedStatements()


def share_compiled_statements() -> None:
    """Share them from now on."""
    event.listen(Engine, "engine_connect", _share)


def _share(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_STATEMENTS)
