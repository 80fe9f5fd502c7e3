"""Writes a report as one HTML file, with a Content-Security-Policy under which only its own scripts run."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import BinaryIO

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from engine.core.reports import ReportData
from engine.report.html.packing import BUDGET, compress, pack
from engine.report.html.text import attribute, script_json, visible
from engine.report.html.views import context, number
from engine.report.times import moment, moment_to_the_second

_FOLDER = files("engine.report.html")
_LARGEST = 4_900_000
"""The most bytes of a file, which is below 5 MB with what the rest adds for each page of findings."""
_LIBRARIES = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
_STYLES = ("page.css", "tables.css", "findings.css")
_SCRIPTS = (
    "text.js",
    "address.js",
    "theme.js",
    "heat.js",
    "charts.js",
    "pages.js",
    "filters.js",
    "conversation.js",
    "findings.js",
    "main.js",
)
"""The parts of the page's script, which is one module, in their order."""


def write_page(data: ReportData, stream: BinaryIO) -> None:
    """Write the report on a run as HTML in UTF-8; the stream stays open.

    The file has less than 5 MB: texts of findings are left out, the worst last, from 3.5 MB on.
    """
    libraries = [_read("vendor", name) for name in _LIBRARIES]
    style = _join("assets", _STYLES)
    script = _join("assets", _SCRIPTS)
    page = partial(
        _environment().get_template("page.html").generate,
        policy=policy([*libraries, script], [style]),
        libraries=[compress(one.encode()) for one in libraries],
        licences=_inline(_read("vendor", "LICENSES.txt")),
        style=_inline(style),
        script=_inline(script),
    )
    axes = list(data.findings.axes)
    others = sum(len(part.encode()) for part in page(**context(data, pack([], axes))))
    packed = pack(data.findings.kept, axes, min(BUDGET, _LARGEST - others))
    for part in page(**context(data, packed)):
        stream.write(part.encode())


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """The Content-Security-Policy of a page: it may run these scripts, use these styles, and do nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_source, scripts))}",
            f"style-src {' '.join(map(_source, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{b64encode(digest).decode()}'"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("engine.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "attribute": attribute,
        "json": script_json,
        "moment": moment,
        "number": number,
        "second": moment_to_the_second,
    }
    return made


def _read(folder: str, name: str) -> str:
    return (_FOLDER / folder / name).read_text(encoding="utf-8")


def _join(folder: str, names: Sequence[str]) -> str:
    return "\n".join(map(partial(_read, folder), names))


def _inline(text: str) -> Markup:
    """A text of ours inside a `<script>` or `<style>`, whose end no part of it may look like."""
    is_closed = any(end in text.lower() for end in ("</script", "</style", "<!--"))
    assert not is_closed, "a file of the page would end its own element"
    return Markup(text)  # noqa: S704 - files of this package
