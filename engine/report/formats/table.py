"""A table for people that fits the terminal; it needs two passes over the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from rich.cells import cell_len

from engine.core.rows import Row, Source, digest_column
from engine.core.terminal import plain, wrapped
from engine.core.values import ValueType
from engine.report.record_table import write_records
from engine.report.sheet import RowFormat, Sheet, text_to
from engine.report.sheets import RowSheet, SummarySheet
from engine.report.summary_table import write_summaries
from engine.report.text_table import (
    GAP,
    UNKNOWN,
    Column,
    Layout,
    cut,
    format_line,
    format_section,
    write_head,
)

MEASURES = (
    "asked",
    "failed",
    "failure_rate",
    "95 % interval",
    "first_rate",
    "cases_failed",
    "unanswered",
    "source",
)
_ASKED = {True: "yes", False: "no", None: UNKNOWN}
_USUAL = {"asked": "yes", "unanswered": UNKNOWN}
"""Measures that are left out if every row has this value."""
_OF_TESTS = ("failed", "failure_rate", "95 % interval")
"""Measures that are left out if no answer has a test."""
_OF_CASES = ("first_rate", "cases_failed")
"""Measures that are left out if all rates of a row are the same, as they are if no case was asked twice."""
_VALUE_MAX = 40
"""The widest that the column of a value may be."""


@dataclass(slots=True)
class Seen:
    """What the first pass over the rows found."""

    columns: dict[str, Column] = field(default_factory=dict)
    digests: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """The first digest of each label, by the column of the digest and the label."""
    ambiguous: set[str] = field(default_factory=set)
    """The columns of digests that are needed because two texts have the same label."""
    values: dict[str, Column] = field(default_factory=dict)
    """The columns of further values that the job kind reports for its answers."""
    has_answers: bool = False
    has_tests: bool = False
    has_other_rates: bool = False

    def see(self, row: Row) -> None:
        self.has_answers = self.has_answers or row.total is not None
        self.has_tests = self.has_tests or bool(row.total)
        self.has_other_rates = self.has_other_rates or (
            row.cases is not None and row.cases != row.total
        )
        for name, cell in (_labels(row) | measures(row)).items():
            self.columns.setdefault(name, Column(cell_len(name))).see(cell)
        for name, seen in self.values.items():
            seen.see(_value(row, name))
        for axis, digest in row.digests.items():
            column, label = plain(digest_column(axis)), str(row.labels.get(axis))
            if self.digests.setdefault((column, label), digest) != digest:
                self.ambiguous.add(column)


async def write(sheet: Sheet[Any], stream: BinaryIO) -> None:
    """Write a table no wider than the sheet's width: of rows as `write_rows` does, of summaries as
    `write_summaries`, of others as `write_records`.
    """
    if isinstance(sheet, RowSheet):
        await write_rows(sheet, stream)
    elif isinstance(sheet, SummarySheet):
        await write_summaries(sheet, stream)
    else:
        await write_records(sheet, stream)


async def write_rows(sheet: RowSheet, stream: BinaryIO) -> None:
    """Write a table of a run's rows no wider than the sheet's width.

    Axes with a single value are shown once, above the table. If the others do not fit, the leading ones
    become headings of sections, then labels are cut. A cell's error is shown below its row.
    """
    text, width = text_to(stream, sheet.encoding), sheet.width
    seen = Seen(values={name: Column(cell_len(name)) for name in sheet.values})
    async for row in sheet.rows():
        seen.see(row)
    layout = _lay_out(seen, width, sheet.values)
    heading: tuple[str, ...] | None = None
    is_empty = True
    async for row in sheet.rows():
        if is_empty:
            write_head(f"run {plain(sheet.run)}", layout, text, width)
            is_empty = False
        labels = _labels(row)
        section = tuple(labels.get(name, UNKNOWN) for name in layout.sections)
        if section and section != heading:
            heading = section
            text.write(format_section(layout, section, width) + "\n")
        cells = {name: _value(row, name) for name in sheet.values} | labels | measures(row)
        text.write(format_line([cells.get(name, UNKNOWN) for name in layout.widths], layout) + "\n")
        if row.error and row.error != row.state:
            text.writelines(f"{line}\n" for line in wrapped([f"    {plain(row.error)}"], width))
    if is_empty:
        text.write(cut(f"run {plain(sheet.run)}: no cells", width) + "\n")


def measures(row: Row) -> dict[str, str]:
    """What is known of a cell as text, by the names in MEASURES and in their order; UNKNOWN where nothing is known.

    `failed` is failed/total, and `95 % interval` that of the failure rate. `first_rate` is the share of cases
    whose first answer failed, and `cases_failed` that of cases with any failure. `unanswered` is the number
    with the lowest and highest failure rate that answers to it could have given. A cell without an answer
    has its job's state as its `source`.
    """
    share = UNKNOWN if row.total is None else f"{row.failed}/{row.total}"
    rate = UNKNOWN if row.failure_rate is None else f"{row.failure_rate:.1%}"
    interval = UNKNOWN
    if row.ci_low is not None and row.ci_high is not None:
        interval = f"{row.ci_low:.1%}-{row.ci_high:.1%}"
    lacking = UNKNOWN
    if row.unanswered and row.lowest_rate is not None and row.highest_rate is not None:
        lacking = f"{row.unanswered:,}: {row.lowest_rate:.1%}-{row.highest_rate:.1%}"
    source = row.state if row.source is Source.MISSING else row.source.value
    first, any_layer = (_share(part, row.cases) for part in (row.first_failed, row.cases_failed))
    values = (_ASKED[row.asked], share, rate, interval, first, any_layer, lacking, plain(source))
    return dict(zip(MEASURES, values, strict=True))


def _share(part: int | None, cases: int | None) -> str:
    return f"{part / cases:.1%}" if cases and part is not None else UNKNOWN


def _labels(row: Row) -> dict[str, str]:
    """The axes of a cell as text, each followed by its digest."""
    found: dict[str, Any] = {}
    for name, value in row.labels.items():
        found[name] = value
        if name in row.digests:
            found[digest_column(name)] = row.digests[name]
    return {
        plain(name): UNKNOWN if value is None else plain(str(value))
        for name, value in found.items()
    }


def _lay_out(seen: Seen, width: int, values: Mapping[str, ValueType]) -> Layout:
    layout = Layout(numbers=frozenset(MEASURES[:-1]))
    needless = {plain(column) for column, _ in seen.digests} - seen.ambiguous
    if seen.has_answers and not seen.has_tests:
        needless |= {*_OF_TESTS}
    if not seen.has_other_rates:
        needless |= {*_OF_CASES}
    for name, column in seen.columns.items():
        if name in needless or (not column.varies and column.first == _USUAL.get(name)):
            continue
        if name in MEASURES or column.varies:
            layout.widths[name] = column.width
        elif column.first is not None:
            layout.constants[name] = column.first
    layout.fit(width, [name for name in layout.widths if name not in MEASURES])
    _add_values(layout, seen, width, values)
    return layout


def _add_values(layout: Layout, seen: Seen, width: int, kinds: Mapping[str, ValueType]) -> None:
    """Add columns for values, in their order, as long as they fit into the remaining width."""
    for name, column in seen.values.items():
        is_new = name not in seen.columns
        needed = min(column.width, _VALUE_MAX)
        if is_new and layout.total + len(GAP) + needed <= width:
            layout.widths[name] = needed
            if kinds[name] in (int, float):
                layout.numbers |= {name}


def _value(row: Row, name: str) -> str:
    """A value of the job kind by name, as text."""
    match row.values.get(name):
        case None:
            return UNKNOWN
        case bool() as is_so:
            return _ASKED[is_so]
        case float() as number:
            return f"{number:.6g}"
        case value:
            return plain(str(value))


FORMAT = RowFormat(name="table", ending=".txt", write=write)
