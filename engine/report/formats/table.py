"""A table of rows for people that fits the terminal; it needs two passes over the rows."""

from codecs import StreamWriter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from rich.cells import cell_len, set_cell_size

from engine.core.rows import Row, Source, digest_column
from engine.core.terminal import plain, wrapped
from engine.core.values import ValueType
from engine.report.sheet import RowFormat, Sheet, text_to

GAP = "  "
UNKNOWN = "-"
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
_NARROWEST = 6
_OF_TESTS = ("failed", "failure_rate", "95 % interval")
"""Measures that are left out if no answer has a test."""
_OF_CASES = ("first_rate", "cases_failed")
"""Measures that are left out if all rates of a row are the same, as they are if no case was asked twice."""
_VALUE_MAX = 40
"""The widest that the column of a value may be."""


@dataclass(slots=True)
class Column:
    """A column as seen in the first pass: its width, and whether its value ever changes."""

    width: int
    first: str | None = None
    varies: bool = False

    def see(self, cell: str) -> None:
        self.width = max(self.width, cell_len(cell))
        if self.first is None:
            self.first = cell
        self.varies = self.varies or cell != self.first


@dataclass(slots=True)
class Layout:
    """The axes shown above the table, those that head sections, and the widths of the columns."""

    constants: dict[str, str] = field(default_factory=dict)
    sections: list[str] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset(MEASURES[:-1])
    """Columns of numbers, which are aligned to the right."""


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


async def write(sheet: Sheet, stream: BinaryIO) -> None:
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
            _write_head(sheet.run, layout, text, width)
            is_empty = False
        labels = _labels(row)
        section = tuple(labels.get(name, UNKNOWN) for name in layout.sections)
        if section and section != heading:
            heading = section
            counts = ", ".join(f"{n} {v}" for n, v in zip(layout.sections, section, strict=True))
            text.write(_cut(counts, width) + "\n")
        cells = {name: _value(row, name) for name in sheet.values} | labels | measures(row)
        text.write(_line([cells.get(name, UNKNOWN) for name in layout.widths], layout) + "\n")
        if row.error and row.error != row.state:
            text.writelines(f"{line}\n" for line in wrapped([f"    {plain(row.error)}"], width))
    if is_empty:
        text.write(_cut(f"run {plain(sheet.run)}: no cells", width) + "\n")


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
    layout = Layout()
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
    axes = [name for name in layout.widths if name not in MEASURES]
    while len(axes) > 1 and _total(layout) > width:
        section = axes.pop(0)
        layout.sections.append(section)
        del layout.widths[section]
    while _total(layout) > width:
        widest = max(layout.widths, key=lambda name: layout.widths[name])
        if layout.widths[widest] <= _NARROWEST:
            break
        layout.widths[widest] -= 1
    _add_values(layout, seen, width, values)
    return layout


def _add_values(layout: Layout, seen: Seen, width: int, kinds: Mapping[str, ValueType]) -> None:
    """Add columns for values, in their order, as long as they fit into the remaining width."""
    for name, column in seen.values.items():
        is_new = name not in seen.columns
        needed = min(column.width, _VALUE_MAX)
        if is_new and _total(layout) + len(GAP) + needed <= width:
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


def _total(layout: Layout) -> int:
    return sum(layout.widths.values()) + len(GAP) * max(0, len(layout.widths) - 1)


def _write_head(run: str, layout: Layout, stream: StreamWriter, width: int) -> None:
    line = ""
    for name, value in {"run": plain(run), **layout.constants}.items():
        part = f"{name} {value}"
        if line and cell_len(line) + 2 + cell_len(part) > width:
            stream.write(line + "\n")
            line = ""
        line = f"{line}, {part}" if line else _cut(part, width)
    if line:
        stream.write(line + "\n\n")
    stream.write(_line(list(layout.widths), layout) + "\n")
    stream.write(_cut(GAP.join("-" * column for column in layout.widths.values()), width) + "\n")


def _line(cells: Sequence[str], layout: Layout) -> str:
    shown = []
    for (name, width), cell in zip(layout.widths.items(), cells, strict=True):
        cut = _cut(cell, width)
        room = " " * (width - cell_len(cut))
        shown.append(room + cut if name in layout.numbers else cut + room)
    return GAP.join(shown).rstrip()


def _cut(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


FORMAT = RowFormat(name="table", ending=".txt", write=write)
