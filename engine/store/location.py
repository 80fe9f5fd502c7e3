"""Where a store is: a file, or a database on a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address of a database on a PostgreSQL server, as messages and commands show it.

    It holds no password: libpq takes that from PGPASSWORD, PGPASSFILE or ~/.pgpass when it connects.
    """

    url: str

    def __str__(self) -> str:
        return self.url


Location: TypeAlias = Path | ServerAddress
