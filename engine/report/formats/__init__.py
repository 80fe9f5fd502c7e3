"""The formats of results: each module of this package defines one as FORMAT."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from engine.core.errors import UsageError
from engine.report.sheet import RowFormat


def _load_formats() -> Iterator[RowFormat]:
    for module in iter_modules(__path__):
        found = import_module(f"{__name__}.{module.name}").FORMAT
        assert isinstance(found, RowFormat), f"{module.name}.FORMAT is not a RowFormat"
        yield found


FORMATS = {form.name: form for form in _load_formats()}
"""All formats by name."""


def format_ending(ending: str) -> RowFormat | None:
    """The format of files with this ending, such as `.csv`, in upper or lower case; None if there is none."""
    return next((form for form in FORMATS.values() if form.ending == ending.lower()), None)


def format_of(file: Path) -> RowFormat:
    """The format of a file by the ending of its name; the file need not exist.

    Raises UsageError, which lists the endings and names `--format`, if no format has this ending.
    """
    form = format_ending(file.suffix)
    if form is None:
        endings = ", ".join(one.ending for one in FORMATS.values())
        raise UsageError(
            f"cannot tell from the name {file.name} which format to write: end it in"
            f" {endings}, or say it with --format"
        )
    return form
