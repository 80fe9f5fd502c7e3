"""What cannot be the name of a store, although other programs take it for a database."""

import re

from engine.core.errors import UsageError

_IN_MEMORY = re.compile(
    r":memory:|file::memory:.*|(?:file|sqlite).*\bmode=memory\b.*|sqlite:/*", re.I
)
# One slash is enough: Path() makes one of two. A drive of Windows has one letter.
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/|(?P<file>file):", re.IGNORECASE)
_FILE_SCHEMES = ("file", "sqlite", "sqlite3")


def check_store_name(name: str) -> None:
    """Raise UsageError for the URL of a database and for one in memory: a store is named by its path.

    The message repeats no more of a URL than its scheme: there may be a password in it.
    """
    if _IN_MEMORY.fullmatch(name):
        raise UsageError(
            f"{name}: a store is a file, such as nightsweep.db; a run in memory could not be resumed"
        )
    found = _URL.match(name)
    if found is None:
        return
    scheme = (found["scheme"] or found["file"]).lower()
    if scheme.partition("+")[0] in _FILE_SCHEMES:
        raise UsageError(f"{scheme}: a store is named by the path of its file, without {scheme}:")
    raise UsageError(
        f"{scheme}://: a store is a SQLite file on a local disk, such as nightsweep.db;"
        f" {scheme} is not supported"
    )
