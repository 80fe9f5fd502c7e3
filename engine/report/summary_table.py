"""A table of summaries for people: coverage, cases, the three rates, and means of values."""

from typing import BinaryIO

from rich.cells import cell_len

from engine.core.rows import digest_column
from engine.core.terminal import plain
from engine.report.sheet import text_to
from engine.report.sheets.summaries import SummaryRow, SummarySheet
from engine.report.text_table import (
    UNKNOWN,
    Column,
    Layout,
    cut,
    format_line,
    format_section,
    write_head,
)

_INTERVAL = "95 % interval"
_OTHER_RATES = ("cases_failed", "failure_rate")
"""Rates that are left out if they are the first rate in all rows."""


async def write_summaries(sheet: SummarySheet, stream: BinaryIO) -> None:
    """Write a table of summaries no wider than the sheet's width.

    `answered` are cells. The interval is that of the rate before it. If the columns do not fit, the leading axes
    become headings of sections, then cells are cut.
    """
    text = text_to(stream, sheet.encoding)
    rows = [row async for row in sheet.rows()]
    if not rows:
        text.write(cut(f"run {plain(sheet.run)}: no cells", sheet.width) + "\n")
        return
    labels = [_labels(sheet, row) for row in rows]
    cells = [_measures(sheet, row) for row in rows]
    layout = _lay_out(sheet, labels, cells)
    write_head(f"run {plain(sheet.run)}", layout, text, sheet.width)
    heading: tuple[str, ...] | None = None
    for named, measured in zip(labels, cells, strict=True):
        section = tuple(named[name] for name in layout.sections)
        if section and section != heading:
            heading = section
            text.write(format_section(layout, section, sheet.width) + "\n")
        line = named | measured
        text.write(format_line([line[name] for name in layout.widths], layout) + "\n")


def _lay_out(
    sheet: SummarySheet, labels: list[dict[str, str]], cells: list[dict[str, str]]
) -> Layout:
    columns: dict[str, Column] = {}
    for named, measured in zip(labels, cells, strict=True):
        for name, cell in (named | measured).items():
            columns.setdefault(name, Column(cell_len(name))).see(cell)
    needless = {
        name for name in _OTHER_RATES if all(one[name] == one["first_rate"] for one in cells)
    }
    if all(one["first_rate"] == UNKNOWN for one in cells):
        needless -= {*_OTHER_RATES}
        needless |= {"first_rate", f"first {_INTERVAL}"}
    elif "failure_rate" in needless:
        needless |= {f"failure {_INTERVAL}"}
    layout = Layout(numbers=frozenset(cells[0]))
    for name, column in columns.items():
        is_empty = not column.varies and column.first == UNKNOWN
        if name in needless or is_empty:
            continue
        if name in labels[0] and not column.varies and column.first is not None:
            layout.constants[name] = column.first
        else:
            layout.widths[name] = column.width
    layout.fit(sheet.width, labels[0])
    return layout


def _needless_digests(sheet: SummarySheet, labels: list[dict[str, str]]) -> set[str]:
    """The digests that tell nothing, because no two texts have the same label."""
    found = set()
    for axis in sheet.axes.types:
        name, column = plain(axis), plain(digest_column(axis))
        if column in labels[0]:
            texts = {(one[name], one[column]) for one in labels}
            if len(texts) == len({label for label, _ in texts}):
                found.add(column)
    return found


def _labels(sheet: SummarySheet, row: SummaryRow) -> dict[str, str]:
    found = {}
    for name in sheet.axes.types:
        value = row.labels.get(name)
        for axis in row.labels:
            if name == digest_column(axis):
                value = row.digests.get(axis)
        found[plain(name)] = UNKNOWN if value is None else plain(str(value))
    return found


def _measures(sheet: SummarySheet, row: SummaryRow) -> dict[str, str]:
    found = {
        "answered": f"{row.answered:,}/{row.cells:,}",
        "cases": UNKNOWN if row.cases is None else f"{row.cases:,}",
        "first_rate": _share(row.first_rate),
        f"first {_INTERVAL}": _interval(row.first_low, row.first_high),
        "cases_failed": _share(row.cases_failed),
        "failure_rate": _share(row.failure_rate),
        f"failure {_INTERVAL}": _interval(row.ci_low, row.ci_high),
    }
    for name in sheet.values:
        value = row.values.get(name)
        found[plain(name)] = UNKNOWN if value is None else f"{value:.4g}"
    return found


def _share(rate: float | None) -> str:
    return UNKNOWN if rate is None else f"{rate:.1%}"


def _interval(low: float | None, high: float | None) -> str:
    return UNKNOWN if low is None or high is None else f"{low:.1%}-{high:.1%}"
