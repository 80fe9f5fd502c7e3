"""The heat map of a run: rates by two axes, from its cells, with every missing cell counted."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.core.axes import CaseAxis, RecordAxis
from engine.core.matrix import MatrixAxis
from engine.core.reports import RATES, CurvePoint, HeatCell, HeatMap
from engine.core.rows import digest_column
from engine.results.analysis import Analysis
from engine.results.summaries import Summary

MOST_ROWS = 40
MOST_COLUMNS = 30
"""The most rows and columns of a heat map: the first ones in the order of the file."""
_MOST_VALUES = 1_000
"""An axis with more values names cases rather than what is compared."""
_USUAL_ROW, _USUAL_COLUMN = "model", "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatAxes:
    """The axes of a heat map, by field; `column` is empty if only one axis is compared."""

    row: str
    column: str


def compared_axes(axes: Sequence[MatrixAxis], folded_field: str | None) -> list[MatrixAxis]:
    """The axes that a report compares: all but thresholds and those whose values are test cases."""
    return [
        axis
        for axis in axes
        if axis.field != folded_field
        and not isinstance(axis.axis, CaseAxis | RecordAxis)
        and 0 < len(axis.values) <= _MOST_VALUES
    ]


def choose_axes(axes: Sequence[MatrixAxis], folded_field: str | None) -> HeatAxes | None:
    """The axes of a run's heat map: models and groups where there are some, else the first that vary.

    None if no axis is compared.
    """
    compared = compared_axes(axes, folded_field)
    if not compared:
        return None
    # Axes with several values first, and of these, and of the others, the usual one.
    ranked = sorted(compared, key=lambda axis: len(axis.values) == 1)
    row = _first(ranked, _USUAL_ROW, but=_USUAL_COLUMN) or _USUAL_COLUMN
    column = _first(ranked, _USUAL_COLUMN, but=row)
    return HeatAxes(row=row, column=column)


def _first(ranked: Sequence[MatrixAxis], usual: str, *, but: str) -> str:
    """The field of the first axis but one, or of the usual one if that varies as much; empty if there is no other."""
    others = [axis for axis in ranked if axis.field != but]
    if not others:
        return ""
    is_varied = len(others[0].values) > 1
    alike = [axis.field for axis in others if (len(axis.values) > 1) is is_varied]
    return usual if usual in alike else alike[0]


def heat_map_of(analysis: Analysis, axes: HeatAxes) -> HeatMap:
    """The rates of a run by two axes, at every threshold, with the missing cells of each combination."""
    by = [axes.row, axes.column] if axes.column else [axes.row]
    summaries = analysis.summaries(by)
    rows = list(dict.fromkeys(label_of(one, axes.row) for one in summaries))
    columns = list(dict.fromkeys(label_of(one, axes.column) for one in summaries))
    shown_rows, shown_columns = set(rows[:MOST_ROWS]), set(columns[:MOST_COLUMNS])
    cells = [
        HeatCell(
            row=row,
            column=column,
            threshold=one.threshold,
            coverage=one.coverage,
            cases=one.cases,
            estimates={rate: one.rate(rate) for rate in RATES},
        )
        for one in summaries
        if (row := label_of(one, axes.row)) in shown_rows
        and (column := label_of(one, axes.column)) in shown_columns
    ]
    return HeatMap(
        row_axis=axes.row,
        column_axis=axes.column,
        rows=tuple(rows[:MOST_ROWS]),
        columns=tuple(columns[:MOST_COLUMNS]),
        thresholds=tuple(analysis.thresholds),
        cells=tuple(cells),
        rows_left_out=max(0, len(rows) - MOST_ROWS),
        columns_left_out=max(0, len(columns) - MOST_COLUMNS),
    )


def label_of(summary: Summary, axis: str) -> str:
    """The value of a summary on an axis, with its digest if several texts have the same label; empty without axis."""
    label = summary.labels.get(axis)
    digest = summary.labels.get(digest_column(axis))
    shown = "" if label is None else str(label)
    return shown if digest is None else f"{shown} ({digest})"


def curves_of(heat_map: HeatMap) -> tuple[CurvePoint, ...]:
    """The rates of a heat map by threshold, row by row; those of its first rate that is known."""
    rate = next(
        (
            rate
            for rate in RATES
            if any(cell.estimates[rate].rate is not None for cell in heat_map.cells)
        ),
        None,
    )
    if rate is None:
        return ()
    return tuple(
        CurvePoint(
            row=cell.row,
            column=cell.column,
            threshold=cell.threshold,
            estimate=cell.estimates[rate],
        )
        for cell in heat_map.cells
        if cell.threshold is not None and cell.estimates[rate].rate is not None
    )
