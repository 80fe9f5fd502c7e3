"""The databases on which every promise of the store is tested, and what a test needs of one."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import psycopg

from engine.clock import Clock
from engine.core.addresses import ServerAddress
from engine.store import Store, open_store
from engine.store.memory import Memory, open_memory_store
from engine.store.postgres.connections import open_writer
from engine.store.queries import counts
from engine.store.queries.counts import WrongCount
from tests.engine.store.counts import find_wrong_counts
from tests.engine.store.scenes import rows, states
from tests.postgres import make_database


class Scratch(Protocol):
    """A database for the stores of one test: each opening of it is another worker."""

    def open(self, clock: Clock) -> AbstractAsyncContextManager[Store]:
        """Open the store, which is empty at first, and has afterwards what was committed to it."""
        ...

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What another program reads from the database; `?` stands for a value."""
        ...

    def states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        ...

    def find_broken_references(self) -> list[tuple[Any, ...]]:
        """The rows whose foreign keys refer to no row."""
        ...

    def find_wrong_counts(self) -> list[WrongCount]:
        """The kept counts that differ from a recount."""
        ...


class SQLiteScratch:
    """A file in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"

    def open(self, clock: Clock) -> AbstractAsyncContextManager[Store]:
        """Open the store in the file."""
        return open_store(self.path, clock, commit_interval_s=0)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What another program reads from the file."""
        return rows(self.path, query, *values)

    def states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return states(self.path)

    def find_broken_references(self) -> list[tuple[Any, ...]]:
        """The rows whose foreign keys refer to no row."""
        return self.rows("PRAGMA foreign_key_check")

    def find_wrong_counts(self) -> list[WrongCount]:
        """The kept counts in the file that differ from a recount; none if there is no file."""
        return find_wrong_counts(self.path)


class MemoryScratch:
    """A memory, which its openings share."""

    def __init__(self, _folder: Path) -> None:
        self._memory = Memory()

    def open(self, clock: Clock) -> AbstractAsyncContextManager[Store]:
        """Open the store in the memory."""
        return open_memory_store(self._memory, clock)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What is read from the memory."""
        with self._memory.transaction() as connection:
            found = connection.exec_driver_sql(query, values)
            return [tuple(row) for row in found] if found.returns_rows else []

    def states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(self.rows("SELECT state, count(*) FROM job GROUP BY state"))

    def find_broken_references(self) -> list[tuple[Any, ...]]:
        """The rows whose foreign keys refer to no row."""
        return self.rows("PRAGMA foreign_key_check")

    def find_wrong_counts(self) -> list[WrongCount]:
        """The kept counts in the memory that differ from a recount."""
        with self._memory.transaction() as connection:
            return counts.find_wrong(connection)


class PostgresScratch:
    """A database of a server."""

    def __init__(self, _folder: Path) -> None:
        self.url = make_database()

    def open(self, clock: Clock) -> AbstractAsyncContextManager[Store]:
        """Open the store in the database."""
        return open_store(ServerAddress(self.url), clock, commit_interval_s=0)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What another program reads from the database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(query.replace("?", "%s").encode(), values)
            return [] if found.description is None else found.fetchall()

    def states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(self.rows("SELECT state, count(*) FROM job GROUP BY state"))

    def find_broken_references(self) -> list[tuple[Any, ...]]:
        """None: the server checks every reference when a transaction ends."""
        return []

    def find_wrong_counts(self) -> list[WrongCount]:
        """The kept counts in the database that differ from a recount; none if no store was created."""
        if self.rows("SELECT to_regclass('job_count')") == [(None,)]:
            return []
        database = open_writer(ServerAddress(self.url), lambda _: None)
        try:
            with database.connect() as connection:
                return counts.find_wrong(connection)
        finally:
            database.dispose()


DATABASES: dict[str, Callable[[Path], Scratch]] = {
    "sqlite": SQLiteScratch,
    "memory": MemoryScratch,
    "postgresql": PostgresScratch,
}
"""By name, what creates a database in a folder. All tests in this folder run on each entry."""
