"""Output files that appear only when complete, readable by their owner alone."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.core.errors import UsageError
from engine.part_files import part_of

_UNUSUAL = re.compile(r"[^\w.+-]+")
_LONGEST_NAME = 100


def name_file(run: str, ending: str) -> str:
    """A file's name for a run: its name, with `-` in place of what file systems may refuse, and the ending."""
    return f"{_UNUSUAL.sub('-', run).strip('.-')[:_LONGEST_NAME] or 'run'}{ending}"


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file of bytes that takes `path`'s place once it is whole.

    Its mode is 0600. Whatever was at `path` stays there if anything goes wrong. Raises UsageError
    when it cannot be written, and for what is no file: a device must not be replaced by one.
    """
    stack = ExitStack()
    try:
        if path.exists() and not path.is_file():
            raise UsageError(
                f"cannot write {path}: it exists and is not a regular file; choose another path"
            )
        descriptor, part = stack.enter_context(part_of(path))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another path") from None
    with stack:
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(descriptor)
            part.replace(path)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
