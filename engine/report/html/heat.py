"""The heat map as a table, with all its rates and thresholds for the page's script."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from engine.core.estimates import Rate
from engine.core.listing import quantity
from engine.core.reports import RATES, HeatCell, HeatMap, ReportData
from engine.core.statistics import Method
from engine.report.charts import interval_words

UNKNOWN = "\u2013"
"""What stands in place of a number that is not known."""
_INTERVALS: Mapping[Method, str] = {
    Method.WILSON: "Wilson's, because each test is the one answer to a case",
    Method.CLUSTERED: "by case, because answers to one case are not independent",
    Method.LAYERED: "by leaving out each case in turn, because cases that failed were asked again",
    Method.ONE_REPEAT: "Wilson's at the tests of one repeat, because answers do not name their cases",
}
_MOST_ENTRIES = 8_000
"""The most cells of tables for the page's script; of more, only the table at the report's threshold is there."""
_STEPS = 10
"""The colours of the heat map, from 0 to this number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellView:
    """A cell of the table."""

    style: str
    text: str = ""
    detail: str = ""
    missing: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """A row of the table."""

    name: str
    cells: list[CellView]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatView:
    """The table at one threshold and for one rate."""

    words: str
    note: str
    caption: str
    intervals: str
    rates: list[Rate]
    thresholds: list[str]
    threshold: str
    columns: tuple[str, ...]
    rows: list[RowView]
    left_out: str


def heat_view(data: ReportData) -> HeatView | None:
    """The heat map at the report's threshold, with the first rate that is known; None without one."""
    heat_map = data.heat_map
    if heat_map is None or not has_rates(heat_map):
        return None
    rates = known_rates(heat_map)
    shown = {
        (cell.row, cell.column): cell for cell in heat_map.cells if cell.threshold == data.threshold
    }
    rows = [
        RowView(
            name=row,
            cells=[
                _cell_view(shown.get((row, column)), heat_map, rates) for column in heat_map.columns
            ],
        )
        for row in heat_map.rows
    ]
    document = heat_document(data) or {}
    thresholds = [at for at in document["tables"][rates[0]] if at]
    at = "" if data.threshold is None else f" at threshold {data.threshold:g}"
    return HeatView(
        words=f"{rates[0]}{at}: {RATES[rates[0]]}.",
        note="Below it, the 95 % interval and the number of cases. Hatched: cells of the sweep are missing or"
        " failed. A click shows the findings.",
        caption=f"{rates[0]}{at}",
        intervals=_interval_words(heat_map),
        rates=rates,
        thresholds=thresholds,
        threshold="" if data.threshold is None else f"{data.threshold:g}",
        columns=heat_map.columns,
        rows=rows,
        left_out=_left_out_words(heat_map),
    )


def known_rates(heat_map: HeatMap) -> list[Rate]:
    """The names of the rates that some cell tells, in the order of RATES; the vendor's if none does."""
    known = {
        name
        for cell in heat_map.cells
        for name, estimate in cell.estimates.items()
        if estimate.rate is not None
    }
    return [name for name in RATES if name in known] or [Rate.FAILURE]


def has_rates(heat_map: HeatMap) -> bool:
    """Whether any cell tells a rate: functions may return values alone."""
    return any(one.rate is not None for cell in heat_map.cells for one in cell.estimates.values())


def _interval_words(heat_map: HeatMap) -> str:
    made = dict.fromkeys(
        estimate.interval
        for cell in heat_map.cells
        for estimate in cell.estimates.values()
        if estimate.interval
    )
    how = "; ".join(_INTERVALS[one] for one in made) or "there is none"
    return (
        f"of 95 %: {how}. Cases are a sample of cases like these; what the judge gets wrong is not"
        " in it."
    )


def _left_out_words(heat_map: HeatMap) -> str:
    parts = []
    if heat_map.rows_left_out:
        parts.append(f"{heat_map.rows_left_out:,} more of {heat_map.row_axis}")
    if heat_map.columns_left_out:
        parts.append(f"{heat_map.columns_left_out:,} more of {heat_map.column_axis}")
    return f"{' and '.join(parts)} are left out here:" if parts else ""


def _cell_view(cell: HeatCell | None, heat_map: HeatMap, rates: list[Rate]) -> CellView:
    if cell is None:
        return CellView(style="none")
    parts = cell_parts(cell, rates[0])
    return CellView(
        style=parts["style"],
        text=parts["text"],
        detail=parts["detail"],
        missing=parts["missing"],
        address=_address(cell, heat_map),
    )


def cell_parts(cell: HeatCell, rate: Rate) -> dict[str, str]:
    """What a cell shows of one rate: its class, the rate, what it is made of, and what is missing."""
    estimate = cell.estimates[rate]
    coverage = cell.coverage
    lacking = coverage.cells - coverage.answered
    missing = f"{lacking:,} of {coverage.cells:,} missing" if lacking else ""
    hatch = " hatched" if lacking else ""
    if estimate.rate is None:
        return {"style": f"none{hatch}", "text": UNKNOWN, "detail": "", "missing": missing}
    return {
        "style": f"heat-{round(estimate.rate * _STEPS)}{hatch}",
        "text": f"{estimate.rate:.0%}",
        "detail": _detail(cell, rate),
        "missing": missing,
    }


def _detail(cell: HeatCell, rate: Rate) -> str:
    """The interval of a rate and what it is a share of: the cases, if their number is known, and what was asked."""
    estimate = cell.estimates[rate]
    if cell.cases is None:
        of = quantity(estimate.total, "test" if rate is Rate.FAILURE else "answer")
    else:
        of = quantity(cell.cases, "case")
    return f"{interval_words(estimate)}, {of}".replace(" ", "\u00a0").replace(",\u00a0", ", ")


def _address(cell: HeatCell, heat_map: HeatMap) -> str:
    filters = {heat_map.row_axis: cell.row}
    if heat_map.column_axis:
        filters[heat_map.column_axis] = cell.column
    return f"#{urlencode(filters, quote_via=quote, errors='replace')}"


def heat_document(data: ReportData) -> Mapping[str, Any] | None:
    """The cells of the heat map for each rate and threshold, row by row; None if there is one table only."""
    heat_map = data.heat_map
    if heat_map is None:
        return None
    rates = known_rates(heat_map)
    by_key = {(cell.threshold, cell.row, cell.column): cell for cell in heat_map.cells}
    thresholds = heat_map.thresholds
    if len(heat_map.rows) * len(heat_map.columns) * len(thresholds) * len(rates) > _MOST_ENTRIES:
        thresholds = (data.threshold,)
    tables: dict[str, dict[str, list[list[dict[str, str] | None]]]] = {}
    for rate in rates:
        of_rate = tables[rate] = {}
        for threshold in thresholds:
            of_rate["" if threshold is None else f"{threshold:g}"] = [
                [
                    None
                    if (cell := by_key.get((threshold, row, column))) is None
                    else cell_parts(cell, rate)
                    for column in heat_map.columns
                ]
                for row in heat_map.rows
            ]
    return {
        "tables": tables,
        "words": {name: RATES[name] for name in rates},
        "rate": rates[0],
        "threshold": "" if data.threshold is None else f"{data.threshold:g}",
    }
