"""The charts of a report as Vega-Lite, for the browser and for pictures alike: data and marks, without a theme."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from engine.core.estimates import Estimate, Rate
from engine.core.reports import CURVE_STEPS, CurvePoint, HeatMap, Pairs, ReportData, ScoreCurve

Spec: TypeAlias = Mapping[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""Names the language; nothing is loaded from it."""
MOST_LINES = 8
"""The most lines of a chart that can be told apart by colour and dash."""
VERDICTS: Mapping[str, str] = {
    "better": "#0b6e4f",
    "worse": "#b8421f",
    "cannot be told apart": "#8592a0",
}
"""The verdicts on pairs, with their colours on a light ground; the page has its own for each theme."""
_LINES = {"symbolType": "stroke", "symbolOpacity": 1, "symbolSize": 300, "symbolStrokeWidth": 2}
_PERCENT = ".0%"
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
    "axis": {"format": _PERCENT, "values": [0, 0.25, 0.5, 0.75, 1]},
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


def interval_words(estimate: Estimate) -> str:
    """The interval of a rate, such as `13-51 %`; a word if it has none."""
    if estimate.low is None or estimate.high is None:
        return "no interval"
    return f"{estimate.low * 100:.0f}\u2013{estimate.high * 100:.0f} %"


def pairs_spec(pairs: Pairs) -> Spec:
    """The differences of an axis as points with intervals, one line for each pair, around a line at zero."""
    values = [
        {
            "pair": f"{one.a} \u2212 {one.b}",
            "difference": one.difference,
            "low": one.low if one.low is not None else one.difference,
            "high": one.high if one.high is not None else one.difference,
            "verdict": one.verdict,
            "cases": one.cases,
        }
        for one in pairs.shown
    ]
    y = {
        "field": "pair",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"labelLimit": 300},
    }
    colour = {
        "field": "verdict",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(VERDICTS), "range": list(VERDICTS.values())},
        "legend": {"orient": "top"},
    }
    tooltip = [
        {"field": "pair", "title": pairs.axis},
        {"field": "difference", "format": "+.1%"},
        {"field": "low", "format": "+.1%"},
        {"field": "high", "format": "+.1%"},
        {"field": "cases"},
        {"field": "verdict"},
    ]
    return {
        "$schema": SCHEMA,
        "data": {"values": values},
        "width": 460,
        "height": {"step": 22},
        "layer": [
            {"mark": {"type": "rule", "style": "zero"}, "encoding": {"x": {"datum": 0}}},
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {
                    "y": y,
                    "x": {
                        "field": "low",
                        "type": "quantitative",
                        "title": "difference of failure rates, 95 % interval",
                        "axis": {"format": "+.0%", "tickCount": 7, "grid": True},
                    },
                    "x2": {"field": "high"},
                    "color": colour,
                    "tooltip": tooltip,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
                "encoding": {
                    "y": y,
                    "x": {"field": "difference", "type": "quantitative"},
                    "color": colour,
                    "shape": {**colour, "scale": {"domain": list(VERDICTS)}},
                    "tooltip": tooltip,
                },
            },
        ],
    }


def heat_spec(heat_map: HeatMap, threshold: float | None) -> Spec:
    """The heat map as a picture: the rate in each cell, its cases below, and hatches where cells are missing."""
    values = [
        {
            "row": cell.row,
            "column": cell.column or "all",
            "rate": estimate.rate,
            "text": "\u2013" if estimate.rate is None else f"{estimate.rate:.0%}",
            "n": f"{estimate.total:,} asked",
            "missing": cell.coverage.answered < cell.coverage.cells,
        }
        for cell in heat_map.cells
        if cell.threshold == threshold and (estimate := first_estimate(cell.estimates)) is not None
    ]
    x = {
        "field": "column",
        "type": "nominal",
        "sort": None,
        "title": heat_map.column_axis or None,
        "axis": {"orient": "top", "labelAngle": -40},
    }
    y = {"field": "row", "type": "nominal", "sort": None, "title": heat_map.row_axis}
    dark = {"condition": {"test": "datum.rate > 0.6", "value": "white"}, "value": "#16202c"}
    return {
        "$schema": SCHEMA,
        "data": {"values": values},
        "width": {"step": 74},
        "height": {"step": 40},
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "white", "strokeWidth": 2},
                "encoding": {
                    "color": {
                        "field": "rate",
                        "type": "quantitative",
                        "scale": {"domain": [0, 1], "scheme": "blues"},
                        "legend": {"format": _PERCENT, "title": "failure rate"},
                    },
                },
            },
            *map(_hatch_layer, _HATCHES),
            {
                "mark": {"type": "text", "dy": -5, "fontSize": 13, "fontWeight": "bold"},
                "encoding": {"text": {"field": "text"}, "color": dark},
            },
            {
                "mark": {"type": "text", "dy": 10, "fontSize": 9},
                "encoding": {"text": {"field": "n"}, "color": dark},
            },
        ],
    }


_HATCHES = (0.3, 0.6, 0.9, 1.2, 1.5, 1.8)
"""Where the lines across a cell are: the sum of their places from its left and its upper edge, as parts of it."""


def _hatch_layer(place: float) -> Spec:
    """A line across each cell that lacks answers."""
    start, end = max(0.0, place - 1), min(1.0, place)
    return {
        "transform": [{"filter": "datum.missing"}],
        "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.3},
        "encoding": {
            "x": {"field": "column", "bandPosition": start},
            "x2": {"field": "column", "bandPosition": end},
            "y": {"field": "row", "bandPosition": end},
            "y2": {"field": "row", "bandPosition": start},
        },
    }


def first_estimate(estimates: Mapping[Rate, Estimate]) -> Estimate | None:
    """The estimate of the first rate that is known; the first one if none is, None without any."""
    known = [one for one in estimates.values() if one.rate is not None]
    return next(iter(known or estimates.values()), None)
