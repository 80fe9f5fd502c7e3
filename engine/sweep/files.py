"""Finding the files that a sweep names, only inside its own folder, whatever patterns or links say."""

import errno
import os
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath, PureWindowsPath

from engine.documents.malformed import Malformed

_FILES_MAX = 10_000
_ENTRIES_MAX = 200_000
_BYTES_MAX = 64 * 1024 * 1024
_LEAST_BYTES = 4096
"""The least bytes that a file counts for: opening many empty files takes time, too."""

_ANY_FOLDERS = "**"


class SweepFolder:
    """The folder of a sweep file, with limits on the files that one sweep may examine and read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = 0
        self._bytes = 0

    def find_files(self, pattern: str) -> list[Path]:
        """Find the files that a relative name or pattern matches; returns at least one, sorted.

        Patterns skip hidden files, leftovers of editors, and folders that are symbolic links. Raises
        Malformed if nothing matches, or if a pattern or link leads out of the folder.
        """
        parts = PurePosixPath(pattern).parts
        if not parts or ".." in parts or _is_absolute(pattern):
            raise Malformed(
                f"{pattern}: must be a path inside the folder of the sweep file, relative to it"
            )
        literal = next((at for at, part in enumerate(parts) if _is_wild(part)), len(parts))
        # A name without wildcards is a file, whether or not it exists.
        start = self._inside(self.path.joinpath(*parts[:literal]))
        if literal == len(parts):
            return [start]
        try:
            found = self._search(start, parts[literal:], pattern) if start.is_dir() else set()
        except (OSError, ValueError) as error:
            raise Malformed(f"{pattern}: cannot be looked up ({type(error).__name__})") from None
        if not found:
            raise Malformed(f"{pattern}: matches no file")
        return [self._inside(path) for path in sorted(found)]

    def spend(self, file: Path) -> None:
        """Count a file that is about to be read; raises Malformed if the sweep has read too much."""
        try:
            size = file.stat().st_size
        except (OSError, ValueError):
            size = 0  # reading it will report the error
        self._bytes += max(size, _LEAST_BYTES)
        if self._bytes > _BYTES_MAX:
            raise Malformed(
                f"the files of the sweep hold more than {_BYTES_MAX // 1024 // 1024} MiB together"
            )

    def _inside(self, path: Path) -> Path:
        try:
            if path.resolve().is_relative_to(self.path.resolve()) and not _is_loop(path):
                return path
        except (OSError, RuntimeError, ValueError):
            pass  # a name that no file can have or, before Python 3.13, a loop of links
        shown = path.relative_to(self.path).as_posix()
        raise Malformed(f"{shown}: leads out of the folder of the sweep file")

    def _search(self, start: Path, parts: tuple[str, ...], pattern: str) -> set[Path]:
        """Find the files below `start`, without recursion: a tree may be deeper than the stack."""
        found: set[Path] = set()
        open_folders = {(start, 0)}
        seen = set(open_folders)
        while open_folders:
            folder, at = open_folders.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._count(pattern)
                    files, below = _steps(entry, Path(folder, entry.name), parts, at)
                    found |= files
                    open_folders |= below - seen
                    seen |= below
            if len(found) > _FILES_MAX:
                raise Malformed(f"{pattern}: matches more than {_FILES_MAX:,} files")
        return found

    def _count(self, pattern: str) -> None:
        self._entries += 1
        if self._entries > _ENTRIES_MAX:
            raise Malformed(
                f"{pattern}: more than {_ENTRIES_MAX:,} files would have to be examined;"
                " keep prompts in a folder of their own"
            )


def _steps(
    entry: os.DirEntry[str], path: Path, parts: tuple[str, ...], at: int
) -> tuple[set[Path], set[tuple[Path, int]]]:
    """Match an entry with the pattern from part `at` on; returns files found and folders to search."""
    files: set[Path] = set()
    below: set[tuple[Path, int]] = set()
    # Links to folders are not followed: in a loop, each round would double the work.
    is_folder = entry.is_dir(follow_symlinks=False)
    while at < len(parts) and parts[at] == _ANY_FOLDERS:
        if is_folder and not _is_leftover(entry.name):
            below.add((path, at))
        at += 1
    if (
        at < len(parts)
        and fnmatchcase(entry.name, parts[at])
        and not _is_hidden(entry.name, parts[at])
    ):
        if at + 1 < len(parts):
            below |= {(path, at + 1)} if is_folder else set()
        elif path.is_file():
            files.add(path)
    return files, below


def _is_hidden(name: str, part: str) -> bool:
    """Whether a pattern skips a file; one that begins with a dot matches hidden files."""
    return _is_leftover(name) and not (part.startswith(".") and name.startswith("."))


def _is_leftover(name: str) -> bool:
    """Whether a file is hidden, or a leftover of an editor, an office program or a file manager."""
    return (
        name.startswith((".", "~$"))
        or name.endswith(("~", ".swp", ".swo", ".tmp", ".bak", ".orig"))
        or (name.startswith("#") and name.endswith("#"))
        or name.casefold() in ("thumbs.db", "desktop.ini", "__macosx", "icon\r")
    )


def _is_wild(part: str) -> bool:
    return any(character in part for character in "*?[")


def _is_absolute(pattern: str) -> bool:
    windows = PureWindowsPath(pattern)
    return pattern.startswith(("/", "~")) or bool(windows.drive) or "\\" in pattern


def _is_loop(path: Path) -> bool:
    """Whether a path leads through a loop of links."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False
