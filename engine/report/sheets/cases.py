"""The cases of a run as a sheet: one record for each case of each cell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar

from engine.core.cases import CaseRow
from engine.report.columns import ColumnType
from engine.report.document import axis_document
from engine.report.sheet import Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSheet(Sheet[CaseRow]):
    """The cases of a run; they have no further values."""

    noun: ClassVar[str] = "cases"
    known: ClassVar[Mapping[str, ColumnType]] = {
        "case": str,
        "tests": int,
        "failed": int,
        "first_failed": int,
        "lowest_score": float,
        "job": int,
        "identity": str,
    }

    def to_document(self, row: CaseRow) -> dict[str, Any]:
        found = axis_document(row, self.axes.contents)
        for name in self.known:
            found.setdefault(name, getattr(row, name))
        return found

    def known_reader(self, name: str) -> Callable[[CaseRow], Any]:
        return attrgetter(name)

    def count_characters(self, row: CaseRow) -> int:
        return 0
