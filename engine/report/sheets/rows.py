"""The rows of a run as a sheet: one record for each cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar

from engine.core.rows import Row, Source
from engine.core.states import State
from engine.report.columns import KNOWN, ColumnType
from engine.report.document import row_document, row_line, to_json
from engine.report.sheet import Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSheet(Sheet[Row]):
    """The rows of a run; the known columns are those of every row."""

    noun: ClassVar[str] = "cells"
    known: ClassVar[Mapping[str, ColumnType]] = KNOWN
    categories: ClassVar[Mapping[str, Sequence[str]]] = {
        "state": tuple(State),
        "source": tuple(Source),
    }

    def to_document(self, row: Row) -> dict[str, Any]:
        return row_document(row, self.values, self.axes.contents)

    def to_line(self, row: Row) -> str:
        return row_line(row, self.values, self.axes.contents)

    def known_reader(self, name: str) -> Callable[[Row], Any]:
        return _read_reasons if name == "unanswered_reasons" else attrgetter(name)

    def count_characters(self, row: Row) -> int:
        return sum(len(value) for value in row.values.values() if isinstance(value, str))


def _read_reasons(row: Row) -> str | None:
    reasons = row.unanswered_reasons
    if not reasons:
        # As most rows have it.
        return None if reasons is None else "{}"
    return to_json(reasons, indent=None)
