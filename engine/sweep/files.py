"""The files that a sweep names: inside its own folder, whatever the pattern or a link says."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from engine.sweep.malformed import Malformed

_FILES_MAX = 10_000


def matching_files(folder: Path, pattern: str) -> list[Path]:
    """The files that a name or pattern relative to `folder` stands for, sorted; at least one.

    Raises Malformed for patterns, and for symbolic links, that lead out of the folder.
    """
    parts = PurePosixPath(pattern).parts
    if not parts or ".." in parts or _is_absolute(pattern):
        raise Malformed(
            f"{pattern}: must be a path inside the folder of the sweep file, relative to it"
        )
    if any(character in pattern for character in "*?["):
        found = _glob(folder, pattern)
    else:
        found = [folder / pattern]
    for path in found:
        if not _is_inside(path, folder):
            shown = path.relative_to(folder).as_posix()
            raise Malformed(f"{shown}: leads out of the folder of the sweep file")
    return found


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that go round
        return False


def _is_absolute(pattern: str) -> bool:
    windows = PureWindowsPath(pattern)
    return pattern.startswith(("/", "~")) or bool(windows.drive) or "\\" in pattern


def _glob(folder: Path, pattern: str) -> list[Path]:
    found = []
    try:
        for path in folder.glob(pattern):
            if path.is_file():
                found.append(path)
            if len(found) > _FILES_MAX:
                raise Malformed(f"{pattern}: fits more than {_FILES_MAX:,} files")
    except (OSError, ValueError, RuntimeError) as error:
        raise Malformed(f"{pattern}: cannot be looked up ({type(error).__name__})") from None
    if not found:
        raise Malformed(f"{pattern}: fits no file")
    return sorted(found)
