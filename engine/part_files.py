"""Temporary files in the target's folder, with a hidden name, that become the target once complete.

They are removed however the writing ends. What a killed process leaves is removed by the next one
that writes a file into the same folder.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp

_ENDING = ".nightsweep.part"
_COMPANIONS = ("", "-journal", "-wal", "-shm")
"""Suffixes of the files that SQLite may create with a database."""
_ABANDONED_S = 3600.0
"""A part file that has not changed for this long belongs to a dead process."""

_parts: set[Path] = set()
_folders: set[Path] = set()


@contextmanager
def part_of(target: Path) -> Iterator[tuple[int, Path]]:
    """Create an empty file of mode 0600 in the folder of `target`; yields its descriptor and path.

    The block closes the descriptor, and moves the file to keep it: what remains is removed
    afterwards. Raises OSError if the file cannot be created.
    """
    descriptor, name = mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=_ENDING)
    part = Path(name)
    _parts.add(part)
    try:
        _sweep(part)
        yield descriptor, part
    finally:
        _remove(part)
        _parts.discard(part)


@contextmanager
def private_folder() -> Iterator[Path]:
    """Create a temporary folder of mode 0700 and remove it, with all files in it, after the block.

    Raises OSError if it cannot be created.
    """
    with TemporaryDirectory(prefix="nightsweep-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _folders.add(folder)
        try:
            yield folder
        finally:
            _folders.discard(folder)


def remove_parts() -> None:
    """Remove the files that this process is writing, before it exits without leaving its blocks."""
    for folder in list(_folders):
        shutil.rmtree(folder, ignore_errors=True)
    for part in list(_parts):
        with suppress(OSError):
            _remove(part)


def _sweep(fresh: Path) -> None:
    """Remove part files of killed processes from the folder of a file that was just created."""
    with suppress(OSError):
        now = fresh.stat().st_mtime
        for part in fresh.parent.glob(f".*{_ENDING}"):
            with suppress(OSError):
                if now - part.stat().st_mtime > _ABANDONED_S:
                    _remove(part)


def _remove(part: Path) -> None:
    for suffix in _COMPANIONS:
        Path(f"{part}{suffix}").unlink(missing_ok=True)
