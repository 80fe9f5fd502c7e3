"""What the templates of a report show: its numbers as words, its tables row by row."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from engine.core.error_kinds import ErrorKind
from engine.core.findings import Finding
from engine.core.listing import quantity
from engine.core.reports import RATES, CurvePoint, Effort, ReportData, ScoreCurve
from engine.core.rows import Coverage
from engine.report.charts import MOST_LINES, pairs_spec
from engine.report.curve_chart import curves_spec, has_curves
from engine.report.facts import facts_of, label_words
from engine.report.flaky_cases import flaky_words
from engine.report.html.comparisons import means_view, pairs_view
from engine.report.html.heat import UNKNOWN, has_rates, heat_document, heat_view
from engine.report.html.packing import PackedFindings
from engine.report.html.text import script_json
from engine.report.times import duration
from engine.report.verdict import command, next_steps, show_command, verdict
from engine.report.words import coverage_parts, cut

_EXCERPT = 20
"""The findings that are in the page's HTML, for readers without JavaScript."""
_EXCERPT_TEXT = 4_000
"""The most characters of a message there."""
_BAR = 100


def number(value: float) -> str:
    """A number with separators of thousands."""
    return f"{value:,}"


def context(data: ReportData, packed: PackedFindings) -> dict[str, Any]:
    """The variables of the templates, but for the page's own scripts and styles."""
    heat = heat_view(data)
    curves = _curves_view(data)
    pairs = [pairs_view(one) for one in data.pairs]
    effort = list(_effort_rows(data.effort))
    status = data.status
    return {
        "data": data,
        "packed": packed,
        "verdict": verdict(data),
        "steps": next_steps(data),
        "sections": list(
            _sections(data, has_rates=heat is not None, has_curves=curves is not None)
        ),
        "coverage": list(_bar(status.coverage, is_over=status.state.is_over)),
        "coverage_words": ", ".join(coverage_parts(status.coverage, status)),
        "facts": list(facts_of(data)),
        "commands": {
            "events": command(data, "events"),
            "results": command(data, "results"),
            "findings": command(data, "findings"),
        },
        "heat": heat,
        "rate_words": list(RATES.items()),
        "curves": curves,
        "pairs": pairs,
        "lacks_pairs": _lacks_pairs(data),
        "means": means_view(data),
        "flaky_words": "" if data.flakiness is None else flaky_words(data.flakiness),
        "effort": effort,
        "errors": _errors(status.errors),
        "excerpt": [_excerpt(data, one) for one in islice(data.findings.kept, _EXCERPT)],
        "findings_note": _findings_note(data, packed),
        "findings_left_out": packed.count < data.findings.total,
        "document": script_json(_document(data, packed)),
    }


def _sections(data: ReportData, *, has_rates: bool, has_curves: bool) -> Iterator[tuple[str, str]]:
    yield "night", "Events"
    if has_rates:
        yield "rates", "Where it fails"
    if has_curves:
        yield "thresholds", "Thresholds"
    if data.pairs:
        yield "pairs", "Comparisons"
    if data.means:
        yield "means", "Values"
    if data.flakiness is not None:
        yield "flaky", "Flaky cases"
    if data.effort:
        yield "effort", "Time and retries"
    yield "findings", "Findings"


@dataclass(frozen=True, slots=True, kw_only=True)
class BarPart:
    """A part of the coverage bar, from `x`, of `width`, both in percent."""

    name: str
    words: str
    count: int
    x: float
    width: float


def _bar(coverage: Coverage, *, is_over: bool) -> Iterator[BarPart]:
    counts = (
        ("answered", "answered", coverage.answered),
        ("failed", "failed", coverage.failed),
        ("cancelled", "cancelled", coverage.cancelled),
        ("missing", "missing" if is_over else "to come", coverage.to_come),
    )
    x = 0.0
    for name, words, count in counts:
        width = round(_BAR * count / max(1, coverage.cells), 2)
        if count:
            yield BarPart(name=name, words=words, count=count, x=round(x, 2), width=width)
        x += width


def _lacks_pairs(data: ReportData) -> bool:
    """Whether several values have rates but no case in common that is known by name."""
    heat_map = data.heat_map
    return (
        heat_map is not None and has_rates(heat_map) and len(heat_map.rows) > 1 and not data.pairs
    )


def _errors(errors: tuple[ErrorKind, ...]) -> list[ErrorKind]:
    return list(errors[:10])


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLine:
    """A line of the table of rates by threshold."""

    row: str
    column: str
    cells: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesView:
    """The rates by threshold as a table; `points` and `whole` are those of the chart."""

    note: str
    has_bands: bool
    thresholds: list[str]
    lines: list[CurveLine]
    points: list[CurvePoint]
    whole: list[ScoreCurve]


def _curves_view(data: ReportData) -> CurvesView | None:
    thresholds = sorted({point.threshold for point in data.curves})
    if data.heat_map is None or not has_curves(data):
        return None
    found: dict[tuple[str, str], dict[float, str]] = {}
    for point in data.curves:
        rate = point.estimate.rate
        words = UNKNOWN if rate is None else f"{rate:.0%} of {point.estimate.total:,}"
        found.setdefault((point.row, point.column), {})[point.threshold] = words
    lines = [
        CurveLine(row=row, column=column, cells=[of.get(at, UNKNOWN) for at in thresholds])
        for (row, column), of in found.items()
    ]
    shown = set(list(dict.fromkeys(point.row for point in data.curves))[:MOST_LINES])
    whole = [one for one in data.score_curves if one.row in shown]
    stepped = {(one.row, one.column) for one in whole}
    points = [point for point in data.curves if point.row in shown]
    joined = _joined_lines(point for point in points if (point.row, point.column) not in stepped)
    banded = [one for one in whole if one.half_width is not None]
    note = _curves_note(_LineCount(len(whole), len(banded)), joined)
    if hidden := len({point.row for point in data.curves}) - len(shown):
        note += f" The chart shows the {MOST_LINES} worst; {hidden:,} more are in the table."
    return CurvesView(
        note=note,
        has_bands=bool(banded or joined.banded),
        thresholds=[f"{at:g}" for at in thresholds],
        lines=lines,
        points=points,
        whole=whole,
    )


class _LineCount(NamedTuple):
    """How many lines of one sort the chart has, and how many of them have a band."""

    total: int
    banded: int


def _joined_lines(points: Iterable[CurvePoint]) -> _LineCount:
    """The lines through single rates; one has a band if any of its rates has an interval."""
    known: dict[tuple[str, str], bool] = {}
    for point in points:
        line = (point.row, point.column)
        known[line] = known.get(line, False) or point.estimate.low is not None
    return _LineCount(len(known), sum(known.values()))


def _curves_note(whole: _LineCount, joined: _LineCount) -> str:
    """What the lines and bands of the chart are, and why lines have none.

    `whole` are the lines that have all scores, `joined` those that have only some thresholds.
    """
    joins = "join the sweep\u2019s thresholds" + _joined_bands(joined)
    if not whole.total:
        return f"The answers do not list all their scores: lines {joins}"
    note = (
        "Lines are the distribution of all first answers\u2019 scores, so they are exact between the"
        " sweep\u2019s thresholds (dots), too" + _whole_bands(whole)
    )
    if joined.total:
        note += f" Where answers do not list all their scores, lines {joins}"
    return note


def _whole_bands(lines: _LineCount) -> str:
    """The end of the sentence on lines of all scores: what their bands are, and how many have none."""
    why = "because it is unknown how many different cases their answers are about."
    if not lines.banded:
        return f". They have no bands, {why}"
    bands = "; a band holds the whole line of cases like these with 95 % certainty."
    if lacking := lines.total - lines.banded:
        lack = "has" if lacking == 1 else "have"
        bands += f" {lacking:,} of these {lines.total:,} lines {lack} no band, {why}"
    return bands


def _joined_bands(lines: _LineCount) -> str:
    """The end of the sentence on lines through single rates."""
    if not lines.banded:
        return "; they have no bands, because their rates have no intervals."
    bands = ", and their bands are the 95 % intervals of single rates."
    if lines.banded < lines.total:
        bands += " Lines whose rates have no intervals have no band."
    return bands


@dataclass(frozen=True, slots=True, kw_only=True)
class EffortRow:
    """A line of the table of time and retries."""

    name: str
    jobs: int
    attempts: int
    retried: int
    failed: int
    time: str
    mean: str
    slowest: str
    share: float
    share_words: str


def _effort_rows(efforts: tuple[Effort, ...]) -> Iterator[EffortRow]:
    total = sum(one.seconds for one in efforts)
    for one in efforts:
        share = one.seconds / total if total else 0.0
        yield EffortRow(
            name=one.name,
            jobs=one.jobs,
            attempts=one.attempts,
            retried=one.retried,
            failed=one.failed,
            time=duration(one.seconds) if one.timed else UNKNOWN,
            mean=f"{one.seconds / one.timed:.1f} s" if one.timed else UNKNOWN,
            slowest=f"{one.slowest:.1f} s" if one.timed else UNKNOWN,
            share=round(100 * share, 1),
            share_words=f"{share:.0%}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcerptMessage:
    """A message of a finding in the page's HTML."""

    role: str
    kind: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """A finding in the page's HTML."""

    score: str
    labels: str
    messages: list[ExcerptMessage]


def _excerpt(data: ReportData, finding: Finding) -> Excerpt:
    labels = [*label_words(data, finding.labels), *filter(None, (finding.case,))]
    return Excerpt(
        score=UNKNOWN if finding.score is None else f"{finding.score:.2f}",
        labels=" · ".join(labels),
        messages=[
            ExcerptMessage(
                role=one.role,
                kind=one.role if one.role in ("user", "assistant", "system") else "other",
                content=cut(one.content, _EXCERPT_TEXT),
            )
            for one in finding.messages
        ],
    )


def _findings_note(data: ReportData, packed: PackedFindings) -> str:
    findings = data.findings
    if findings.unavailable:
        return findings.unavailable
    if not findings.total:
        return "No test has failed, or the answers do not list their tests."
    left_out = findings.total - packed.count
    note = f"{quantity(findings.total, 'failed test')}, the lowest safety score first."
    if left_out:
        note += f" {left_out:,} of them are not in this file, which would become too large; this lists them:"
    return note


def _document(data: ReportData, packed: PackedFindings) -> Mapping[str, Any]:
    """What the page's script needs beside the findings."""
    curves = _curves_view(data)
    row_axis = data.heat_map.row_axis if data.heat_map else ""
    return {
        "run": data.run,
        "show": show_command(data),
        "command": command(data, "findings"),
        "heat": heat_document(data),
        "curves": None if curves is None else curves_spec(curves.points, curves.whole, row_axis),
        "pairs": [pairs_spec(one) for one in data.pairs],
        "axes": {axis: list(values) for axis, values in data.findings.axes.items()},
        "findings": packed.count,
    }
