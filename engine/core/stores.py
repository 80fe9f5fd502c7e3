"""Names of stores: paths of files, and URLs of files."""

import re
from collections.abc import Collection
from urllib.parse import unquote

from engine.core.addresses import EXAMPLE as ADDRESS_EXAMPLE
from engine.core.errors import UsageError

_IN_MEMORY = re.compile(r":memory:|file::memory:.*|(?:file|sqlite).*\bmode=memory\b.*", re.I)
# One slash is enough, since Path() turns two into one. A scheme of one letter is a Windows drive.
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/|(?P<bare>file|sqlite):", re.IGNORECASE)
_FILE_SCHEMES = ("file", "sqlite3")
_EXAMPLE = "sqlite:///nightsweep.db"


def is_url_of(schemes: Collection[str], name: str) -> bool:
    """Whether a name is a URL with one of these schemes, with or without the name of a driver."""
    found = _URL.match(name)
    return found is not None and _scheme(found).partition("+")[0] in schemes


def store_path(name: str) -> str:
    """The path of a store's file, from a path or a URL.

    As in SQLAlchemy, `sqlite:///night.db` is a file in the current folder and
    `sqlite:////srv/night.db` one at an absolute path. Special characters of URLs are escaped, such
    as `%20` for a space.

    Raises UsageError for anything else, such as a store in memory or the URL of another database. The
    message quotes only the scheme of a URL, which may contain a password.
    """
    if _IN_MEMORY.fullmatch(name):
        raise _in_memory(name)
    found = _URL.match(name)
    path = name if found is None else _path_of(name, _scheme(found))
    if "\0" in path:
        raise UsageError("a store's path has no null characters; name another file")
    return path


def _scheme(found: re.Match[str]) -> str:
    return (found["scheme"] or found["bare"]).lower()


def _path_of(url: str, scheme: str) -> str:
    """The path in a URL with this scheme; raises UsageError if it names no file."""
    kind, _, driver = scheme.partition("+")
    if kind in _FILE_SCHEMES:
        raise UsageError(f"{scheme}: a store is named by the path of its file, or by {_EXAMPLE}")
    if kind != "sqlite":
        raise UsageError(
            f"{scheme}://: a store is a SQLite file on a local disk, such as nightsweep.db, or a database on a"
            f" PostgreSQL server, such as {ADDRESS_EXAMPLE}; {scheme} is not supported"
        )
    if driver:
        raise UsageError(f"{scheme}: a store's URL names no driver; write {_EXAMPLE}")
    return _path_of_sqlite(url[len("sqlite:") :])


def _path_of_sqlite(rest: str) -> str:
    if not rest.strip("/"):
        raise UsageError(
            f"sqlite:{rest}: names no file, and a run in memory could not be resumed; write {_EXAMPLE}"
        )
    if not rest.startswith("//"):
        raise UsageError(
            f"sqlite: has three slashes before the path of the file; write {_EXAMPLE}"
            " (as a text: a Path makes one slash of several)"
        )
    if not rest.startswith("///"):
        raise UsageError(
            "sqlite://: names a host, but a store is a file on a local disk; write"
            f" {_EXAMPLE}, and four slashes for an absolute path"
        )
    if "?" in rest or "#" in rest:
        raise UsageError(
            "sqlite:///: a store's URL has no options; leave out what begins with ? or #, and write %3F or"
            " %23 where it is in the name of the file"
        )
    path = unquote(rest[len("///") :])
    if _IN_MEMORY.fullmatch(path):
        raise _in_memory(path)
    return path


def _in_memory(name: str) -> UsageError:
    return UsageError(
        f"{name}: a store is a file, such as nightsweep.db; a run in memory could not be resumed"
    )
