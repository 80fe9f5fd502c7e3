"""A table for people that fits the terminal; its first rows say how it is laid out."""

from codecs import StreamWriter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

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
_FIRST = 1_000
_FIRST_CHARACTERS = 16 * 1024 * 1024
_VALUE_MAX = 40
"""The widest that the column of a value may be."""


@dataclass(slots=True)
class Seen:
    """What the rows so far have in each column."""

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

    def see(self, row: Row, cells: Mapping[str, str], values: Mapping[str, str]) -> bool:
        """Take note of a row, its labels and measures, and its values; returns whether the table may change."""
        known = self.has_answers, self.has_tests, self.has_other_rates, len(self.ambiguous)
        self.has_answers = self.has_answers or row.total is not None
        self.has_tests = self.has_tests or bool(row.total)
        self.has_other_rates = self.has_other_rates or (
            row.cases is not None and row.cases != row.total
        )
        is_new = False
        for name, cell in cells.items():
            if (column := self.columns.get(name)) is None:
                column = self.columns[name] = Column(cell_len(name))
            is_new |= column.see(cell)
        for name, cell in values.items():
            is_new |= self.values[name].see(cell)
        for axis, digest in row.digests.items():
            shown, label = plain(digest_column(axis)), str(row.labels.get(axis))
            if self.digests.setdefault((shown, label), digest) != digest:
                self.ambiguous.add(shown)
        found = self.has_answers, self.has_tests, self.has_other_rates, len(self.ambiguous)
        return is_new or found != known


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
    become headings of sections, then labels are cut. A cell's error is shown below its row. The layout is that
    of the first 1,000 rows, so that a million need not be read before the first one is shown; a later row that
    does not fit it has a new head.
    """
    text, width = text_to(stream, sheet.encoding), sheet.width
    table = _Table(
        sheet, text, Seen(values={name: Column(cell_len(name)) for name in sheet.values})
    )
    first: list[_Shown] | None = []
    size = 0
    async for row in sheet.rows():
        shown = _show(row, sheet.values)
        if first is None:
            table.add(shown)
            continue
        first.append(shown)
        size += sheet.count_characters(row)
        if len(first) == _FIRST or size > _FIRST_CHARACTERS:
            table.begin(first, is_whole=False)
            first = None
    if first:
        table.begin(first, is_whole=True)
    elif first is not None:
        text.write(cut(f"run {plain(sheet.run)}: no cells", width) + "\n")


class _Shown(NamedTuple):
    """A row with its cells as text."""

    row: Row
    labels: dict[str, str]
    measures: dict[str, str]
    values: dict[str, str]

    @property
    def cells(self) -> dict[str, str]:
        return self.values | self.labels | self.measures


def _show(row: Row, values: Iterable[str]) -> _Shown:
    return _Shown(row, _labels(row), measures(row), {name: _value(row, name) for name in values})


@dataclass(slots=True)
class _Table:
    """A table that is being written: its layout follows from the rows so far."""

    sheet: RowSheet
    text: StreamWriter
    seen: Seen
    layout: Layout = field(default_factory=Layout)
    heading: tuple[str, ...] | None = None

    def begin(self, rows: Sequence[_Shown], *, is_whole: bool) -> None:
        """Write the head and the first rows, which are all if it `is_whole`."""
        for shown in rows:
            self._see(shown)
        if not is_whole:
            self._see_axes()
        self._write_head()
        for shown in rows:
            self._write(shown)

    def add(self, shown: _Shown) -> None:
        """Write a further row; before one that the layout does not fit, a blank line and a new head."""
        if self._see(shown):
            before, self.layout = self.layout, self._lay_out()
            if self.layout != before:
                self.text.write("\n")
                self._write_head()
        self._write(shown)

    def _see(self, shown: _Shown) -> bool:
        return self.seen.see(shown.row, shown.labels | shown.measures, shown.values)

    def _see_axes(self) -> None:
        """Take note of the texts that rows to come will have on their axes."""
        for name, texts in self.sheet.axes.categories.items():
            if (column := self.seen.columns.get(plain(name))) is not None:
                for label in texts:
                    column.see(plain(label))

    def _lay_out(self) -> Layout:
        return _lay_out(self.seen, self.sheet.width, self.sheet.values)

    def _write_head(self) -> None:
        self.layout, self.heading = self._lay_out(), None
        write_head(f"run {plain(self.sheet.run)}", self.layout, self.text, self.sheet.width)

    def _write(self, shown: _Shown) -> None:
        layout, width, error = self.layout, self.sheet.width, shown.row.error
        section = tuple(shown.labels.get(name, UNKNOWN) for name in layout.sections)
        if section and section != self.heading:
            self.heading = section
            self.text.write(format_section(layout, section, width) + "\n")
        cells = shown.cells
        line = format_line([cells.get(name, UNKNOWN) for name in layout.widths], layout)
        self.text.write(line + "\n")
        if error and error != shown.row.state:
            self.text.writelines(f"{part}\n" for part in wrapped([f"    {plain(error)}"], width))


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
