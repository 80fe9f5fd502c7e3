"""A table of any sheet but that of rows: its columns as they are, with long texts in the room that is left."""

from collections.abc import Mapping
from typing import Any, BinaryIO

from rich.cells import cell_len

from engine.core.rows import digest_column
from engine.core.terminal import plain
from engine.report.sheet import Sheet, text_to
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

_LONG = ("user_input", "reply")
"""Texts that get the room that the other columns leave."""
_LEFT_OUT = ("conversation", "evidence", "identity", "number", "parent")
"""Columns that files have and a table has not."""
_LONG_MIN = 12
_LONG_MAX = 100
_VALUE_MAX = 40


async def write_records(sheet: Sheet[Any], stream: BinaryIO) -> None:
    """Write a table of a sheet no wider than its width, in two passes.

    Columns with a single value are shown once, above the table, and empty ones not at all. If the others do not
    fit, the leading axes become headings of sections, then cells are cut.
    """
    text, width = text_to(stream, sheet.encoding), sheet.width
    shown = [name for name in sheet.columns if name not in (*_LEFT_OUT, *_digests(sheet))]
    seen = {name: Column(cell_len(plain(name))) for name in shown}
    count = 0
    async for row in sheet.rows():
        count += 1
        cells = _cells(sheet, row)
        for name, column in seen.items():
            column.see(cells.get(name, UNKNOWN))
    if not count:
        text.write(cut(f"run {plain(sheet.run)}: no {sheet.noun}", width) + "\n")
        return
    layout = _lay_out(sheet, seen, width)
    write_head(f"run {plain(sheet.run)}", layout, text, width)
    heading: tuple[str, ...] | None = None
    async for row in sheet.rows():
        cells = _cells(sheet, row)
        section = tuple(cells.get(name, UNKNOWN) for name in layout.sections)
        if section and section != heading:
            heading = section
            text.write(format_section(layout, section, width) + "\n")
        text.write(format_line([cells.get(name, UNKNOWN) for name in layout.widths], layout) + "\n")


def _digests(sheet: Sheet[Any]) -> set[str]:
    return {digest_column(name) for name in sheet.axes.types}


def _cells(sheet: Sheet[Any], row: Any) -> dict[str, str]:
    found = sheet.to_flat_document(row)
    if "thresholds" in found:
        found["thresholds"] = " ".join(f"{threshold:g}" for threshold in row.thresholds)
    return {plain(name): _cell(value) for name, value in found.items()}


def _cell(value: Any) -> str:
    match value:
        case None | "":
            return UNKNOWN
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case _:
            return plain(str(value))


def _lay_out(sheet: Sheet[Any], seen: Mapping[str, Column], width: int) -> Layout:
    numbers = frozenset(name for name, kind in sheet.columns.items() if kind in (int, float))
    layout = Layout(numbers=numbers)
    for name, column in seen.items():
        if name in _LONG or name in sheet.values or column.first is None:
            continue
        if column.varies or name not in sheet.axes.types:
            if column.varies or column.first != UNKNOWN:
                layout.widths[name] = column.width
        elif column.first != UNKNOWN:
            layout.constants[name] = column.first
    longs = {name: seen[name] for name in _LONG if name in seen and seen[name].first is not None}
    longs = {name: one for name, one in longs.items() if one.varies or one.first != UNKNOWN}
    room = sum(len(GAP) + min(one.width, _LONG_MIN) for one in longs.values())
    layout.fit(max(width - room, 1), sheet.axes.types)
    for number, (name, column) in enumerate(longs.items()):
        left = (width - layout.total) // (len(longs) - number) - len(GAP)
        if left >= min(column.width, _LONG_MIN):
            layout.widths[name] = min(column.width, left, _LONG_MAX)
    for name in sheet.values:
        needed = min(seen[name].width, _VALUE_MAX) if name in seen else 0
        if needed and layout.total + len(GAP) + needed <= width:
            layout.widths[name] = needed
    return layout
