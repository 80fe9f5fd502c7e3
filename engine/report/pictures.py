"""The charts of a report as pictures, drawn without a browser and without a network."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.core.errors import UsageError
from engine.core.reports import HeatMap, ReportData
from engine.report.charts import MOST_LINES, Spec, heat_spec, pairs_spec
from engine.report.curve_chart import curves_spec, has_curves, hide_bands

_VEGA_LITE = "v6.4"
_SCALE = 2.0
"""Pixels of a PNG for each pixel of the chart."""
_INK, _QUIET, _LINE = "#17202b", "#56626f", "#d8dee5"
_CONFIG: Mapping[str, Any] = {
    "background": "white",
    "font": "sans-serif",
    "padding": 12,
    "view": {"stroke": _LINE},
    "axis": {
        "domain": False,
        "gridColor": _LINE,
        "labelColor": _QUIET,
        "tickColor": _LINE,
        "titleColor": _QUIET,
        "titleFontWeight": "normal",
    },
    "header": {"labelColor": _INK, "labelFontWeight": 600},
    "legend": {"labelColor": _INK, "titleColor": _QUIET, "titleFontWeight": "normal"},
    "rule": {"color": _INK},
    "style": {"zero": {"strokeDash": [4, 3]}},
    "range": {
        "category": [
            "#0067a8",
            "#c2410c",
            "#00805e",
            "#a8477f",
            "#7a5c00",
            "#3f93cf",
            "#6a4fb3",
            "#5b6570",
        ]
    },
}


def _spec_of_heat_map(data: ReportData) -> Spec | None:
    if data.heat_map is None or not data.heat_map.cells:
        return None
    return heat_spec(data.heat_map, data.threshold)


def _spec_of_thresholds(data: ReportData) -> Spec | None:
    if data.heat_map is None or not has_curves(data):
        return None
    rows = _first_rows(data.heat_map)
    spec = curves_spec(
        [one for one in data.curves if one.row in rows],
        [one for one in data.score_curves if one.row in rows],
        data.heat_map.row_axis,
    )
    # The bands are for looking at single lines.
    return hide_bands(spec)


def _first_rows(heat_map: HeatMap) -> frozenset[str]:
    return frozenset(heat_map.rows[:MOST_LINES])


def _spec_of_pairs(data: ReportData) -> Spec | None:
    return pairs_spec(data.pairs[0]) if data.pairs else None


CHARTS: Mapping[str, Callable[[ReportData], Spec | None]] = {
    "heatmap": _spec_of_heat_map,
    "thresholds": _spec_of_thresholds,
    "pairs": _spec_of_pairs,
}
"""The charts that can be drawn, by the word that the name of a picture ends in."""


def _to_png(converter: ModuleType, spec: Spec) -> bytes:
    made: bytes = converter.vegalite_to_png(
        spec, _VEGA_LITE, scale=_SCALE, config=_CONFIG, allowed_base_urls=[]
    )
    return made


def _to_svg(converter: ModuleType, spec: Spec) -> bytes:
    made: str = converter.vegalite_to_svg(spec, _VEGA_LITE, config=_CONFIG, allowed_base_urls=[])
    return made.encode()


def _to_pdf(converter: ModuleType, spec: Spec) -> bytes:
    made: bytes = converter.vegalite_to_pdf(spec, _VEGA_LITE, config=_CONFIG, allowed_base_urls=[])
    return made


FORMATS: Mapping[str, Callable[[ModuleType, Spec], bytes]] = {
    ".png": _to_png,
    ".svg": _to_svg,
    ".pdf": _to_pdf,
}
"""How a chart becomes a picture, by the ending of its file."""


def check_picture(path: Path) -> str:
    """The chart that a picture's name asks for: `heatmap` for `heatmap.png` or `night-heatmap.svg`.

    Raises UsageError if the name says no chart, or no format.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: the name of a picture ends in {', '.join(FORMATS)}")
    for name in CHARTS:
        if path.stem.lower().endswith(name):
            return name
    raise UsageError(
        f"{path}: the name of a picture says which chart it is: {', '.join(CHARTS)}, as in"
        f" heatmap{path.suffix}"
    )


def draw_picture(data: ReportData, path: Path) -> bytes:
    """Draw the chart that a file's name asks for, in the format of its ending.

    Raises UsageError as `check_picture` does, if the run has nothing to draw in it, and without vl-convert
    (extra `pictures`).
    """
    name = check_picture(path)
    try:
        import vl_convert
    except ImportError:
        raise UsageError(
            f"{path}: a picture needs vl-convert: pip install 'nightsweep[pictures]'"
        ) from None
    if (spec := CHARTS[name](data)) is None:
        raise UsageError(f"{path}: the run has nothing to draw in a chart of {name}")
    return FORMATS[path.suffix.lower()](vl_convert, spec)
