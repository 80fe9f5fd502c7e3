"""The chart of failure rates against thresholds, as Vega-Lite: whole curves as steps, other lines through points."""

from collections.abc import Iterator, Sequence
from typing import Any

from engine.core.reports import CURVE_STEPS, CurvePoint, ReportData, ScoreCurve
from engine.report.charts import PERCENT, SCHEMA, Spec, interval_words

_LINES = {"symbolType": "stroke", "symbolOpacity": 1, "symbolSize": 300, "symbolStrokeWidth": 2}
MOST_CURVE_STEPS = 1_500
"""The most steps of all whole curves together, which are then some 10 kB."""
_COARSER = (1, 2, 4, 5, 10)
"""The thresholds that whole curves have, in 1/200: the first of these with few enough steps."""


def has_curves(data: ReportData) -> bool:
    """Whether there are rates by threshold to draw: whole curves, or several thresholds."""
    return bool(data.score_curves) or len({point.threshold for point in data.curves}) > 1


def curves_spec(
    points: Sequence[CurvePoint],
    whole: Sequence[ScoreCurve],
    row_axis: str,
    *,
    column_width: int = 210,
) -> Spec:
    """The failure rate against the threshold: a line for each row, a facet for each column of the heat map.

    Lines in `whole` are drawn as steps over all thresholds, others join the points. The layers with areas are
    intervals and bands, which the page draws only on demand.
    """
    columns = list(dict.fromkeys(point.column for point in points))
    stepped = {(one.row, one.column) for one in whole}
    values = [
        *(_curve_document(one, is_joined=(one.row, one.column) not in stepped) for one in points),
        *_whole_documents(whole),
    ]
    layers = [_points_layer(row_axis)]
    if len(points) > sum((one.row, one.column) in stepped for one in points):
        layers = [*_lines_layers(row_axis, _JOINED), *layers]
    if whole:
        layers = [*_lines_layers(row_axis, _WHOLE, interpolate="step-before"), *layers]
    # Areas come first, so that they cover no line.
    layers.sort(key=lambda layer: layer["mark"]["type"] != "area")
    return {
        "$schema": SCHEMA,
        "data": {"values": values},
        "transform": _FLATTEN,
        "facet": {"field": "column", "type": "nominal", "title": None, "sort": columns},
        "columns": 4,
        # Marks at the edge of a facet must not shift its header.
        "bounds": "flush",
        "spacing": {"row": 58, "column": 28},
        "resolve": {"axis": {"x": "independent"}},
        "spec": {"width": column_width, "height": 130, "layer": layers},
    }


def hide_bands(spec: Spec) -> Spec:
    """The chart of `curves_spec` without intervals and bands."""
    layers = [layer for layer in spec["spec"]["layer"] if layer["mark"]["type"] != "area"]
    return {**spec, "spec": {**spec["spec"], "layer": layers}}


_JOINED = "datum.kind === 'joined'"
_WHOLE = "datum.kind === 'whole'"
_FLATTEN: Sequence[Spec] = (
    {"flatten": ["at", "failed"]},
    {"calculate": "datum.at / datum.per", "as": "threshold"},
    {"calculate": "datum.failed / datum.of", "as": "rate"},
    {
        "calculate": "isValid(datum.half) ? max(0, datum.rate - datum.half) : datum.lowest",
        "as": "low",
    },
    {
        "calculate": "isValid(datum.half) ? min(1, datum.rate + datum.half) : datum.highest",
        "as": "high",
    },
)
"""How documents become points. A whole curve is one document with lists, which takes less room in the page.

The transforms are those of the whole chart, because Vega-Lite 6.4 loses the data of layers that flatten them.
"""
_X: Spec = {
    "field": "threshold",
    "type": "quantitative",
    "title": None,
    "scale": {"domain": [0, 1]},
    "axis": {"values": [0, 0.2, 0.4, 0.6, 0.8, 1], "format": ".1f"},
}
_Y: Spec = {
    "field": "rate",
    "type": "quantitative",
    "title": "failure rate",
    "scale": {"domain": [0, 1]},
    "axis": {"format": PERCENT, "values": [0, 0.25, 0.5, 0.75, 1]},
}


def _colour(row_axis: str) -> Spec:
    return {
        "field": "row",
        "type": "nominal",
        "title": row_axis,
        "sort": None,
        "legend": {"orient": "top", "columns": 4, "labelLimit": 260, **_LINES},
    }


def _lines_layers(row_axis: str, condition: str, **mark: str) -> list[dict[str, Any]]:
    """The bands of lines, and the lines."""
    colour, transform = _colour(row_axis), [{"filter": condition}]
    return [
        {
            "transform": transform,
            "mark": {"type": "area", "opacity": 0.16, "tooltip": None, **mark},
            "encoding": {
                "x": _X,
                "y": {**_Y, "field": "low"},
                "y2": {"field": "high"},
                "color": colour,
            },
        },
        {
            "transform": transform,
            "mark": {"type": "line", "tooltip": None, **mark},
            "encoding": {"x": _X, "y": _Y, "color": colour, "strokeDash": colour},
        },
    ]


def _points_layer(row_axis: str) -> dict[str, Any]:
    """The rates at the thresholds of the sweep."""
    return {
        "transform": [{"filter": f"!({_WHOLE})"}],
        "mark": {"type": "point", "filled": True, "opacity": 1, "size": 22},
        "encoding": {
            "x": _X,
            "y": _Y,
            "color": _colour(row_axis),
            "tooltip": [
                {"field": "row", "title": row_axis},
                {"field": "threshold", "format": "~g"},
                {"field": "rate", "format": ".1%"},
                {"field": "interval", "title": "95 %"},
                {"field": "n", "title": "of"},
            ],
        },
    }


def _curve_document(point: CurvePoint, *, is_joined: bool) -> dict[str, Any]:
    estimate = point.estimate
    return {
        "kind": "joined" if is_joined else "dot",
        "row": point.row,
        "column": point.column,
        "at": [point.threshold],
        "per": 1,
        "failed": [estimate.rate],
        "of": 1,
        "lowest": estimate.low if estimate.low is not None else estimate.rate,
        "highest": estimate.high if estimate.high is not None else estimate.rate,
        "interval": interval_words(estimate),
        "n": f"{estimate.failed:,} of {estimate.total:,}",
    }


def _whole_documents(curves: Sequence[ScoreCurve]) -> Iterator[dict[str, Any]]:
    """Whole curves, the coarser the more there are."""
    every = next(
        (
            one
            for one in _COARSER
            if sum(len(curve.steps(one)) for curve in curves) <= MOST_CURVE_STEPS
        ),
        _COARSER[-1],
    )
    for curve in curves:
        steps = curve.steps(every)
        yield {
            "kind": "whole",
            "row": curve.row,
            "column": curve.column,
            "at": steps,
            "per": CURVE_STEPS,
            "failed": [curve.failed[step] for step in steps],
            "of": curve.answers,
            "half": round(curve.half_width or 0.0, 4),
        }
