"""Files that are written under a hidden name beside their place until they are whole.

However the writing ends, nothing is left of them. Only a process that is killed cannot tidy up: what it left
is removed by the next one that writes a file into the same folder.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp

_ENDING = ".nightsweep.part"
_COMPANIONS = ("", "-journal", "-wal", "-shm")
"""What SQLite may put beside a database while it is written, too."""
_ABANDONED_S = 3600.0
"""A file that nobody has written to for so long is not being written any more."""

_parts: set[Path] = set()
_folders: set[Path] = set()


@contextmanager
def part_of(target: Path) -> Iterator[tuple[int, Path]]:
    """An empty file of mode 0600 in the folder of `target`, open; removed after the block if it is still there.

    The descriptor is the block's to close. Raises OSError when the file cannot be made.
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
    """A new folder among the temporary files, of mode 0700; removed after the block with all that is in it.

    Raises OSError when it cannot be made.
    """
    with TemporaryDirectory(prefix="nightsweep-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _folders.add(folder)
        try:
            yield folder
        finally:
            _folders.discard(folder)


def remove_parts() -> None:
    """Remove what this process is writing, since it is about to end without coming to that."""
    for folder in list(_folders):
        shutil.rmtree(folder, ignore_errors=True)
    for part in list(_parts):
        with suppress(OSError):
            _remove(part)


def _sweep(fresh: Path) -> None:
    """Remove what processes that were killed left in a folder, where a file has just been made."""
    with suppress(OSError):
        now = fresh.stat().st_mtime
        for part in fresh.parent.glob(f".*{_ENDING}"):
            with suppress(OSError):
                if now - part.stat().st_mtime > _ABANDONED_S:
                    _remove(part)


def _remove(part: Path) -> None:
    for suffix in _COMPANIONS:
        Path(f"{part}{suffix}").unlink(missing_ok=True)
