"""The report as Markdown, for a pull request: short, without pictures, and with nothing in it that a model wrote
and that Markdown or GitHub would obey."""

import re
from collections.abc import Iterable, Iterator

from engine.core.findings import Finding
from engine.core.listing import quantity
from engine.core.reports import HeatCell, HeatMap, Pairs, ReportData
from engine.report.charts import first_estimate, interval_words
from engine.report.facts import Fact, facts_of, label_words
from engine.report.flaky_cases import flaky_words
from engine.report.hidden import show_hidden
from engine.report.markdown import code_span, fence, table_line
from engine.report.times import moment_to_the_second
from engine.report.verdict import command, next_steps, verdict
from engine.report.words import coverage_parts, cut, shorten

LONGEST = 65_000
"""The most characters of a report: GitHub refuses a comment of more than 65,536."""
_LONGEST_MESSAGE = 1_500
_LONGEST_LABEL = 120
_LONGEST_SECTION = 15_000
"""The most characters of a section; a longer one is left out, so that there is room for findings."""
_MOST_PAIRS = 15
_MOST_EVENTS = 10
_RESERVED = 400
"""The characters that are kept for the last line, which counts what is left out."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#!|~$&])")
_TRIGGERS = {
    "@": "\uff20",
    "#": "\uff03",
    "://": "\uff1a//",
    "www.": "www\u2024",
    "GH-": "GH\u2010",
}
"""What GitHub turns into mentions, issues and links even where Markdown is escaped, and what looks like it."""
_TRIGGER = re.compile("|".join(map(re.escape, _TRIGGERS)), re.IGNORECASE)


def report_markdown(data: ReportData) -> str:
    """The report on a run in at most 65,000 characters.

    It has the verdict, what to do next, the rates, the comparisons and as many of the worst findings as fit.
    Texts of models stand in fences that are longer than any in them, and labels are code. It has no mentions and
    no images.
    """
    text = "\n".join(_head(data))
    for section in (
        _heat_section(data),
        _pairs_section(data),
        _flaky_section(data),
        _events_section(data),
    ):
        part = "\n".join(section)
        if len(part) <= _LONGEST_SECTION:
            text += f"\n{part}"
    return text + "".join(_findings_parts(data, LONGEST - len(text)))


def escape_markdown(text: str) -> str:
    """The text on one line, with every character that Markdown or GitHub would obey disarmed."""
    line = " ".join(show_hidden(text).split())
    return _SPECIAL.sub(r"\\\1", _TRIGGER.sub(_disarm, line))


def _disarm(found: "re.Match[str]") -> str:
    return next(to for of, to in _TRIGGERS.items() if of.lower() == found[0].lower())


def code(text: str) -> str:
    """A label of any length as code on one line."""
    return code_span(shorten(show_hidden(text), _LONGEST_LABEL))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield table_line(*names)
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield table_line(*row)


def _head(data: ReportData) -> Iterator[str]:
    yield f"## {code(data.run)}\n"
    yield f"{escape_markdown(verdict(data))}\n"
    for step in next_steps(data):
        words = f" {code(step.command)}" if step.command else ""
        yield f"- {escape_markdown(step.text)}{words}"
    coverage = ", ".join(coverage_parts(data.status.coverage, data.status))
    yield f"\n{escape_markdown(coverage)}\n"
    facts = list(facts_of(data))
    yield from _table(
        (escape_markdown(one.name) for one in facts),
        [[escape_markdown(_fact_words(one)) for one in facts]],
    )


def _fact_words(fact: Fact) -> str:
    return f"{fact.value} ({fact.detail})" if fact.detail else fact.value


def _heat_section(data: ReportData) -> Iterator[str]:
    heat_map = data.heat_map
    if heat_map is None:
        return
    cells = {
        (one.row, one.column): one for one in heat_map.cells if one.threshold == data.threshold
    }
    if not any(first_estimate(one.estimates) for one in cells.values()):
        return
    at = "" if data.threshold is None else f" at threshold {data.threshold:g}"
    yield (
        f"\n### Failure rate of first answers{at}\n"
        if _has_first(heat_map)
        else f"\n### Failure rate{at}\n"
    )
    yield "With the 95 % interval and the number of cases.\n"
    yield from _table(
        [code(heat_map.row_axis), *(code(column or "all") for column in heat_map.columns)],
        [
            [code(row), *(_cell_words(cells.get((row, column))) for column in heat_map.columns)]
            for row in heat_map.rows
        ],
    )


def _has_first(heat_map: HeatMap) -> bool:
    return any(
        next(iter(one.estimates.values())).rate is not None
        for one in heat_map.cells
        if one.estimates
    )


def _cell_words(cell: HeatCell | None) -> str:
    estimate = None if cell is None else first_estimate(cell.estimates)
    if cell is None or estimate is None or estimate.rate is None:
        return "not measured"
    of = "" if cell.cases is None else f", {quantity(cell.cases, 'case')}"
    lacking = cell.coverage.cells - cell.coverage.answered
    missing = f", {lacking:,} of {cell.coverage.cells:,} missing" if lacking else ""
    return f"**{estimate.rate:.0%}** ({interval_words(estimate)}{of}{missing})"


def _pairs_section(data: ReportData) -> Iterator[str]:
    for pairs in data.pairs:
        yield f"\n### Pairs of {code(pairs.axis)}, over the same cases\n"
        yield from _pairs_lines(pairs)


def _pairs_lines(pairs: Pairs) -> Iterator[str]:
    undecided = pairs.total - pairs.told_apart
    yield f"{undecided:,} of {quantity(pairs.total, 'pair')} cannot be told apart.\n"
    apart = [one for one in pairs.shown if one.is_told_apart][:_MOST_PAIRS]
    if apart:
        yield from _table(
            ["", "difference", "95 %", "cases"],
            [
                [
                    f"{code(one.a)} is {one.verdict} than {code(one.b)}",
                    f"{one.difference * 100:+.0f} points",
                    f"{(one.low or 0) * 100:+.0f} to {(one.high or 0) * 100:+.0f}",
                    f"{one.cases:,}",
                ]
                for one in apart
            ],
        )


def _flaky_section(data: ReportData) -> Iterator[str]:
    flaky = data.flakiness
    if flaky is None:
        return
    yield "\n### Flaky cases\n"
    yield (
        f"Of the cases that were asked more than once, {flaky.always:,} always fail,"
        f" {flaky.sometimes:,} fail sometimes and {flaky.never:,} never fail."
        f" {escape_markdown(flaky_words(flaky))}\n"
    )


def _events_section(data: ReportData) -> Iterator[str]:
    if not data.events:
        return
    yield "\n### Events\n"
    for event in data.events[-_MOST_EVENTS:]:
        lane = f" {code(event.lane)}" if event.lane else ""
        message = escape_markdown(shorten(event.message, 300))
        yield f"- {escape_markdown(moment_to_the_second(event.at))}{lane}: {message}"


def _findings_parts(data: ReportData, room: int) -> Iterator[str]:
    """The worst findings as far as there is room, and a line that counts the others."""
    total = data.findings.total
    if data.findings.unavailable:
        yield f"\n\n{escape_markdown(shorten(data.findings.unavailable, _RESERVED // 2))}\n"
        return
    if not total:
        return
    title = f"\n\n### The worst of {quantity(total, 'failed test')}\n"
    room -= len(title) + _RESERVED
    shown = 0
    parts = []
    for finding in data.findings.kept:
        part = _finding_part(data, finding)
        if len(part) > room:
            break
        room -= len(part)
        shown += 1
        parts.append(part)
    if parts:
        yield title
        yield from parts
    if shown < total:
        left = f"{total - shown:,} more"
        yield f"\n\n{left}: {code(shorten(command(data, 'findings'), _RESERVED // 2))}\n"


def _finding_part(data: ReportData, finding: Finding) -> str:
    labels = " ".join(map(code, label_words(data, finding.labels)))
    score = "" if finding.score is None else f"**{finding.score:.2f}** "
    case = f" {code(finding.case)}" if finding.case else ""
    messages = "".join(
        f"\n{code(one.role)}\n\n{fence(show_hidden(cut(one.content, _LONGEST_MESSAGE)))}\n"
        for one in finding.messages
    )
    count = quantity(len(finding.messages), "message")
    hidden = f"<details><summary>{count}</summary>\n{messages}\n</details>\n"
    return f"\n{score}{labels}{case}\n\n{hidden}"
