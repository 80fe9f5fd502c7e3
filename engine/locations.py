"""Where a store is: a SQLite file, or a database on a PostgreSQL server."""

from pathlib import Path
from typing import TypeAlias

from engine.core.addresses import SCHEMES, ServerAddress, parse_address
from engine.core.errors import UsageError
from engine.core.stores import is_url_of, store_path

Location: TypeAlias = Path | ServerAddress
"""Where a store is. As a text, it is what messages show and what `--store` takes."""


def parse_store(name: str | Path) -> Location:
    """Where a store is, from the path or URL of a file, or the address of a database on a server.

    Raises UsageError for anything else, such as a store in memory, and for an address with a password. The
    message quotes nothing of a URL that may be a password.
    """
    text = str(name)
    if is_url_of(SCHEMES, text):
        return parse_address(text)
    return Path(store_path(text))


def parse_file(name: str | Path) -> Path:
    """The path of a file, from a path or URL as `parse_store` takes it; raises UsageError for a server."""
    found = parse_store(name)
    if isinstance(found, ServerAddress):
        raise UsageError(f"{found}: is no file; name one, such as nightsweep.db")
    return found
