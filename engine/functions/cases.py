"""Cases: rows of arguments that go together, from Python values, data frames and files."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, TypeAlias

from engine.core.canonical import canonical
from engine.core.errors import Problem
from engine.documents.document import problem_of
from engine.documents.frames import rows_of_frame
from engine.documents.malformed import Malformed
from engine.documents.places import child_path
from engine.documents.reading import decode_text
from engine.documents.tables import Table, TableFormat, read_table, table_format
from engine.functions.parameters import CASES, Parameter
from engine.kinds import SweepError, UsageError, suggestion

Cases: TypeAlias = Any
"""A list of mappings of arguments by name, a data frame of pandas, polars or pyarrow, or a file's path."""

_LABELS = ("id", "name")
"""Columns that label a case where the function has no such parameter."""
_TEXT_FORMATS = (TableFormat.CSV, TableFormat.TSV)
_PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows, whether their values are texts as in a CSV file, and what makes a problem of a row's place."""

    rows: Iterable[tuple[str, Any]]
    problem: Callable[[str, str, str], Problem]
    are_texts: bool = False

    def describe(self, place: str) -> str:
        """A row's place, for messages about another row."""
        return str(self.problem(place, "", "")).rstrip(": ")


def read_cases(
    cases: Cases, parameters: Sequence[Parameter], problems: list[Problem]
) -> list[dict[str, Any]]:
    """Read cases: for each its `label`, or None, and its `arguments` as JSON values.

    Mistakes are added to `problems`. Raises UsageError if a file cannot be read.
    """
    found = _rows_of(cases)
    by_name = {parameter.name: parameter for parameter in parameters}
    labels = [name for name in _LABELS if name not in by_name]
    read: list[dict[str, Any]] = []
    by_label: dict[str, str] = {}
    by_content: dict[bytes, str] = {}
    for place, row in found.rows:
        if not isinstance(row, Mapping):
            problems.append(found.problem(place, "", "must be a mapping of arguments by name"))
            continue
        arguments: dict[str, Any] = {}
        label = next((name for name in labels if name in row), "")
        mistakes = len(problems)
        for name, value in row.items():
            if name == label:
                continue
            try:
                arguments[name] = _content(by_name, name, value, is_text=found.are_texts)
            except ValueError as error:
                problems.append(found.problem(place, str(name), str(error)))
                arguments[name] = None
        called = _label(row.get(label))
        if called is not None and (before := by_label.setdefault(called, place)) != place:
            message = f"another case is called {called}, at {found.describe(before)}: rename one"
            problems.append(found.problem(place, label, message))
        elif (
            len(problems) == mistakes
            and (before := by_content.setdefault(canonical(arguments), place)) != place
        ):
            message = f"has the same arguments as {found.describe(before)}: leave one out"
            problems.append(found.problem(place, "", message))
        read.append({"label": called, "arguments": arguments})
    if not (read or problems):
        problems.append(Problem(CASES, "there is none: give at least one"))
    return read


def _content(by_name: Mapping[str, Parameter], name: str, value: Any, *, is_text: bool) -> Any:
    """The JSON value of an argument; raises ValueError for a wrong one."""
    parameter = by_name.get(name)
    if parameter is None:
        advice = suggestion(str(name), by_name) or ": leave the column out"
        raise ValueError(f"is no parameter of the function{advice}")
    return parameter.content_of_text(value) if is_text else parameter.content_of(value)


def _label(value: Any) -> str | None:
    """The text of a label; None for a missing or an empty one."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return None
    return str(value).strip() or None


def _rows_of(cases: Cases) -> _Rows:
    if isinstance(cases, str | Path):
        return _rows_of_file(Path(cases))
    if (rows := rows_of_frame(cases)) is not None:
        return _numbered(rows)
    is_series = hasattr(cases, "dtype")
    if is_series or isinstance(cases, Mapping) or not isinstance(cases, Iterable):
        raise UsageError(
            f"{CASES}: must be a list of mappings, a data frame, or the path of a file, not"
            f" {type(cases).__name__}"
        )
    return _numbered(cases)


def _numbered(rows: Iterable[Any]) -> _Rows:
    def problem(place: str, name: str, message: str) -> Problem:
        return Problem(child_path(place, name) if name else place, message)

    return _Rows(((f"{CASES}[{at}]", row) for at, row in enumerate(rows)), problem)


def _rows_of_file(path: Path) -> _Rows:
    if path.suffix.lower() == _PARQUET:
        return _numbered(_read_parquet(path))
    written_as = table_format(path)
    if written_as is None:
        endings = ", ".join((*(f".{one}" for one in TableFormat), _PARQUET))
        raise UsageError(f"{CASES}: {path}: must be a file with one of the endings {endings}")
    try:
        table = read_table(decode_text(path.read_bytes()), written_as)
    except OSError as error:
        raise UsageError(f"{CASES}: {path} cannot be read: {error.strerror or error}") from None
    except Malformed as error:
        raise SweepError(str(path), [problem_of(str(path), error)]) from None

    def problem(place: str, name: str, message: str) -> Problem:
        return table.problem(str(path), place, f"{name}: {message}" if name else message)

    return _Rows(_rows_in(table), problem, written_as in _TEXT_FORMATS)


def _rows_in(table: Table) -> Iterator[tuple[str, Any]]:
    return ((row.place, row.cells) for row in table.rows)


def _read_parquet(path: Path) -> list[Any]:
    try:
        from pyarrow.parquet import read_table as read_parquet  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed: run `pip install 'nightsweep[frames]'`"
        ) from None
    try:
        rows: list[Any] = read_parquet(path).to_pylist()
    except (OSError, ValueError) as error:
        raise UsageError(f"{CASES}: {path} cannot be read: {error}") from None
    return rows
