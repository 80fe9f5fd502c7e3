"""The formats of results. Each module here is one: what it calls FORMAT is offered by `--format`."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from engine.core.errors import UsageError
from engine.report.sheet import RowFormat


def _offered() -> Iterator[RowFormat]:
    for module in iter_modules(__path__):
        found = import_module(f"{__name__}.{module.name}").FORMAT
        assert isinstance(found, RowFormat), f"{module.name}.FORMAT is not a RowFormat"
        yield found


FORMATS = {form.name: form for form in _offered()}
"""All formats by name."""


def format_named(name: str) -> RowFormat:
    """The format that `--format` names; raises ValueError for a name that is none."""
    if name not in FORMATS:
        raise ValueError(f"{name!r} is not one of {', '.join(map(repr, FORMATS))}")
    return FORMATS[name]


def format_ending(ending: str) -> RowFormat | None:
    """The format of files whose names end so, such as `.csv`; None where no format does."""
    return next((form for form in FORMATS.values() if form.ending == ending.lower()), None)


def format_of(file: Path) -> RowFormat:
    """The format that a file's ending stands for; raises UsageError for an ending that stands for none."""
    form = format_ending(file.suffix)
    if form is None:
        endings = ", ".join(one.ending for one in FORMATS.values())
        raise UsageError(
            f"cannot tell from the name {file.name} which format to write: end it in"
            f" {endings}, or say it with --format"
        )
    return form
