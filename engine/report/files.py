"""Files that are whole or not there, and that nobody else can read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import TextIO

from engine.core.errors import UsageError


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """Open a text file (UTF-8, no newline translation) that takes `path`'s place once it is whole.

    Its mode is 0600. Whatever was at `path` stays there if anything goes wrong. Raises UsageError
    when it cannot be written, and for what is no file: a device must not be replaced by one.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(
                f"cannot write {path}: it exists and is not a regular file; choose another path"
            )
        descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.", text=False)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another path") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
