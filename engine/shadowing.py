"""Folders of the user that are named like our packages, `engine` and `jobs`.

Python imports the first package of a name on sys.path, and prefers a folder with an `__init__.py` to
one without:

- The user's `jobs` is found first: their modules are imported as always, and ours, such as
  `jobs.evaluator`, are found behind them by the finder of this module.
- Our package is found first: a module that only the user's folder has cannot be imported. The finder
  says so, with the folder and what to do.
- The user's `engine` is found first: none of our code runs, and Python's own error names their file.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGES = ("engine", "jobs")
_ADVICE = "rename your folder, or move it into a package of your own"


class _LastFinder:
    """Asked for modules that no other finder has found; answers for those of our packages alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if not module or package not in _PACKAGES or package not in sys.modules:
            return None
        ours = _folder_of(package)
        if _is_ours(package, getattr(sys.modules[package], "__path__", ())):
            if (folder := _find_folder_with(package, module)) is not None:
                # Not a ModuleNotFoundError: `from engine import train` would hide the message.
                raise ImportError(
                    f"cannot import {fullname!r}: {package!r} is a package of nightsweep, in {ours},"
                    f" and your folder {folder} has the same name; {_ADVICE}",
                    name=fullname,
                    path=str(folder),
                )
            return None
        # Modules deeper in our packages have been found already: their parents are ours.
        return None if "." in module else PathFinder.find_spec(fullname, [str(ours)])


def install_finder() -> None:
    """Add the finder to sys.meta_path, after all others; does nothing if it is there already."""
    if not any(isinstance(finder, _LastFinder) for finder in sys.meta_path):
        sys.meta_path.append(_LastFinder())


def explain_shadowing(module: str) -> str | None:
    """Why a module of ours cannot be imported, if a folder or file of the user hides it, and what to do."""
    package = module.partition(".")[0]
    if package not in _PACKAGES:
        return None
    imported = sys.modules.get(package)
    spec = PathFinder.find_spec(package) if imported is None else imported.__spec__
    if spec is None or spec.origin is None:
        return None
    folders = spec.submodule_search_locations
    if folders is None:
        return f"your file {spec.origin} hides the package {package!r} of nightsweep: rename it"
    if _is_ours(package, folders):
        return None
    if imported is None:
        return f"your {spec.origin} is imported before nightsweep's {package!r}; {_ADVICE}"
    for name in _modules_of(package):
        found = PathFinder.find_spec(f"{package}.{name}", list(folders))
        if found is not None:
            place = found.origin or next(iter(found.submodule_search_locations or ()), "")
            return f"your {place} hides nightsweep's {package}.{name}: rename it"
    return None


def _folder_of(package: str) -> "Path":
    """The folder of a package of ours."""
    # Slow to import, and not needed unless something is wrong.
    from pathlib import Path

    return Path(__file__).parent.parent / package


def _is_ours(package: str, folders: Iterable[str]) -> bool:
    """Whether a package that was found in `folders` is ours."""
    from pathlib import Path

    ours = _folder_of(package).resolve()
    return any(Path(folder).resolve() == ours for folder in folders)


def _modules_of(package: str) -> Iterator[str]:
    """The names of the modules directly in a package of ours, in alphabetical order."""
    for path in sorted(_folder_of(package).iterdir()):
        if path.name == "__init__.py":
            continue
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            yield path.stem


def _find_folder_with(package: str, module: str) -> "Path | None":
    """The first folder, on sys.path or in a folder there, that is named like our package and has the module."""
    from pathlib import Path

    *parents, _ = module.split(".")
    entries = [Path(entry).absolute() for entry in sys.path]
    # The folder of a script is itself on sys.path.
    for folder in [entry if entry.name == package else entry / package for entry in entries]:
        inner = folder.joinpath(*parents)
        # PathFinder would remember a folder that does not exist as one that never will.
        if not inner.is_dir() or _is_ours(package, [str(folder)]):
            continue
        if PathFinder.find_spec(f"{package}.{module}", [str(inner)]) is not None:
            return folder
    return None
