"""The charts of a report as Vega-Lite, for the browser and for pictures alike: data and marks, without a theme."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from engine.core.estimates import Estimate, Rate
from engine.core.reports import HeatMap, Pairs

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
PERCENT = ".0%"


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
                        "legend": {"format": PERCENT, "title": "failure rate"},
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
