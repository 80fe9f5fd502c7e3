"""Summaries of a run as a sheet: one record for all cells with the same values on some axes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar

from engine.core.values import Value
from engine.report.columns import ColumnType
from engine.report.document import axis_document
from engine.report.sheet import Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """A summary with its numbers side by side; what is not known is None."""

    labels: Mapping[str, Any]
    digests: Mapping[str, str | None]
    cells: int
    answered: int
    missing: int
    """Cells that failed or were cancelled."""
    to_come: int
    cases: int | None
    first_failed: int | None
    first_answers: int | None
    first_rate: float | None
    first_low: float | None
    first_high: float | None
    first_interval: str | None
    lowest_rate: float | None
    highest_rate: float | None
    cases_failed: float | None
    cases_failed_low: float | None
    cases_failed_high: float | None
    failed: int
    total: int
    failure_rate: float | None
    ci_low: float | None
    ci_high: float | None
    interval: str | None
    values: Mapping[str, Value | None] = field(default_factory=dict)
    """The mean of each numeric value, and the ends of its interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummarySheet(Sheet[SummaryRow]):
    """The summaries of a run."""

    noun: ClassVar[str] = "cells"
    known: ClassVar[Mapping[str, ColumnType]] = {
        "cells": int,
        "answered": int,
        "missing": int,
        "to_come": int,
        "cases": int,
        "first_failed": int,
        "first_answers": int,
        "first_rate": float,
        "first_low": float,
        "first_high": float,
        "first_interval": str,
        "lowest_rate": float,
        "highest_rate": float,
        "cases_failed": float,
        "cases_failed_low": float,
        "cases_failed_high": float,
        "failed": int,
        "total": int,
        "failure_rate": float,
        "ci_low": float,
        "ci_high": float,
        "interval": str,
    }

    def to_document(self, row: SummaryRow) -> dict[str, Any]:
        found = axis_document(row, self.axes.contents)
        for name in self.known:
            found[name] = getattr(row, name)
        for name in self.values:
            found.setdefault(name, row.values.get(name))
        return found

    def known_reader(self, name: str) -> Callable[[SummaryRow], Any]:
        return attrgetter(name)

    def count_characters(self, row: SummaryRow) -> int:
        return 0
