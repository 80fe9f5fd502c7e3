"""What changed between two runs as text: a sentence, tables by axis, and the cases that flipped."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from textwrap import wrap

from rich.cells import cell_len, set_cell_size

from engine.core.comparisons import (
    Change,
    Comparison,
    FlippedCase,
    RateChange,
    Shift,
    ValueChange,
)
from engine.core.findings import JudgedTest
from engine.core.listing import quantity
from engine.core.rows import Coverage
from engine.core.terminal import plain
from engine.report.cells import cell_words
from engine.report.words import at_threshold

_SIDE_BY_SIDE = 120
"""The least width of a terminal on which two conversations stand side by side."""
_GAP = "  "
_MESSAGE_MAX = 10_000
_NAME_MIN = 8
_ROWS_MAX = 40
"""The most rows of a table, and the most settings that are listed."""
_HEAD = ("", "cases", "before", "after", "points", "95 % interval", "p", "")
_VALUE_HEAD = ("", "cases", "before", "after", "change", "95 % interval", "p", "")


def comparison_lines(comparison: Comparison) -> list[str]:
    """The coverage of both runs, what differs, and a sentence for each threshold; prose, to be wrapped."""
    before, after = plain(comparison.before), plain(comparison.after)
    lines = [
        f"before: {_coverage_words(before, comparison.coverage_before)}",
        f"after:  {_coverage_words(after, comparison.coverage_after)}",
        _cells_words(comparison),
    ]
    lines += [_changed_words(comparison, axis) for axis in _changed_axes(comparison)]
    if comparison.ignored:
        lines.append(f"axes of one run alone, with one value: {', '.join(comparison.ignored)}")
    if comparison.cases_new or comparison.cases_missing:
        lines.append(
            f"cases in cells of both: {comparison.cases_new:,} new, {comparison.cases_missing:,} missing"
        )
    if comparison.cells_unnamed:
        lines.append(
            f"{quantity(comparison.cells_unnamed, 'cell')} without cases of the same names in both:"
            " compared as two samples, if at all"
        )
    sentences = [
        _sentence(one, comparison)
        for one in comparison.overall
        if _has_rates(one) or not comparison.values
    ]
    if not comparison.overall:
        sentences = ["nothing can be compared: no cell has numbers on both sides"]
    return [*lines, "", *sentences] if sentences else lines


def table_lines(comparison: Comparison, width: int | None = None) -> list[str]:
    """A table for each axis and threshold: how each of its values changed; then how many settings changed.

    On a terminal of `width` columns long names are cut.
    """
    lines: list[str] = []
    for axis, rates in comparison.by_axis.items():
        for threshold in dict.fromkeys(one.threshold for one in rates):
            at = [one for one in rates if one.threshold == threshold]
            if any(map(_has_rates, at)):
                lines += ["", *_table(f"{axis}{at_threshold(threshold)}", axis, at, width)]
    return lines


def value_lines(comparison: Comparison, width: int | None = None) -> list[str]:
    """A table of the values that answers of both runs have; none without any.

    On a terminal of `width` columns long names are cut.
    """
    values = comparison.values
    if not values:
        return []
    counts = {one.cases for one in values}
    over = f", over {quantity(min(counts), 'case')}" if len(counts) == 1 else ""
    head, rows = list(_VALUE_HEAD), [_value_row(one) for one in values]
    if over:
        for row in (head, *rows):
            del row[1]
    return [
        "",
        f"values: means, of true and false the share of true{over}",
        *_grid(head, rows, width),
    ]


def setting_lines(comparison: Comparison) -> list[str]:
    """How many settings changed, and a line for each that is better or worse; prose, to be wrapped."""
    if not comparison.cells or not has_rates(comparison):
        return []
    # After an edit, what has no earlier answer is rather unchanged than new.
    shown = [one for one in Change if not (comparison.is_edit and one is Change.NEW)]
    empty = Counter(
        one.change is Change.UNKNOWN and one.rate_before is None for one in comparison.cells
    )[True]
    found = Counter(one.change for one in comparison.cells)
    found[Change.UNKNOWN] -= empty
    counts = [f"{found[change]:,} {change}" for change in shown]
    if empty:
        counts.append(f"{empty:,} without rates")
    changed = [one for one in comparison.cells if one.change in (Change.WORSE, Change.BETTER)]
    return [
        "",
        f"settings (all repeats of a cell): {', '.join(counts)}",
        *(f"  {one.change}  {_where(one)}: {_rates_words(one)}" for one in _largest(changed)),
        *_more(len(changed) - _ROWS_MAX),
    ]


def flipped_lines(
    flipped: Iterable[FlippedCase], comparison: Comparison, width: int | None
) -> list[str]:
    """The cases that flipped, each with both conversations: side by side on a wide terminal, else one above the other."""
    lines: list[str] = []
    for one in flipped:
        lines += _flipped_lines(one, comparison, width)
    return lines


def has_rates(comparison: Comparison) -> bool:
    """Whether rates are to be shown: not if answers have values alone, and no tests."""
    return not comparison.values or any(map(_has_rates, comparison.overall))


def flipped_words(comparison: Comparison, shown: int) -> str:
    """How many cases flipped, in which direction, and how many of them are not shown."""
    worse = sum(one.change is Change.WORSE for one in comparison.flipped)
    better = len(comparison.flipped) - worse
    words = f"flipped cases: {worse:,} became worse, {better:,} became better"
    more = len(comparison.flipped) - shown
    return f"{words}; {more:,} not shown (--worst)" if more > 0 else words


def _coverage_words(name: str, coverage: Coverage) -> str:
    missing = coverage.cells - coverage.answered
    words = f"{name}, {coverage.answered:,} of {quantity(coverage.cells, 'cell')} with numbers"
    return f"{words} ({missing:,} missing)" if missing else words


def _cells_words(comparison: Comparison) -> str:
    parts = [f"{quantity(comparison.cells_compared, 'cell')} compared"]
    if comparison.cells_unanswered:
        parts.append(f"{comparison.cells_unanswered:,} without numbers in one of them")
    if comparison.cells_new:
        what = "not changed, or new" if comparison.is_edit else "new"
        parts.append(f"{comparison.cells_new:,} {what}")
    if comparison.cells_missing:
        what = "not asked for any more" if comparison.is_edit else "missing"
        parts.append(f"{comparison.cells_missing:,} {what}")
    return ", ".join(parts)


def _changed_axes(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(one.axis for one in comparison.changed))


def _changed_words(comparison: Comparison, axis: str) -> str:
    changes = [one for one in comparison.changed if one.axis == axis]
    texts = [str(one.after) for one in changes if one.before == one.after]
    others = [f"{one.before} → {one.after}" for one in changes if one.before != one.after]
    parts = [f"other contents of {plain(', '.join(texts))}"] if texts else []
    return f"{axis}: {'; '.join([*parts, *map(plain, others)])}"


def _sentence(rate: RateChange, comparison: Comparison) -> str:
    name = plain(comparison.after)
    at = at_threshold(rate.threshold)
    if rate.rate_before is None or rate.rate_after is None:
        return f"{name} and {plain(comparison.before)}{at}: the rates of first answers are unknown"
    verdicts = {
        Change.BETTER: f"{name} is better{at}",
        Change.WORSE: f"{name} is worse{at}",
    }
    start = verdicts.get(rate.change, f"the two cannot be told apart{at}")
    words = f"{start}: {_rates_words(rate)}"
    if rate.change is not Change.UNKNOWN or rate.detectable is None:
        return words
    if rate.detectable >= 1:
        return f"{words}; so few cases show no difference at all"
    return f"{words}; so many cases would have shown {100 * rate.detectable:.0f} points"


def _has_rates(rate: RateChange) -> bool:
    return rate.rate_before is not None and rate.rate_after is not None


def _rates_words(rate: RateChange) -> str:
    if rate.rate_before is None or rate.rate_after is None or rate.difference is None:
        return "unknown rates"
    words = f"{rate.rate_before:.1%} → {rate.rate_after:.1%} of first answers failed"
    if rate.low is not None and rate.high is not None:
        words += f", difference {_points(rate.difference)} points"
        words += f" (95 % interval {_points(rate.low)} to {_points(rate.high)})"
    if rate.p_corrected is not None:
        words += f", p {_p(rate.p_corrected)} over {quantity(rate.cases or 0, 'case')}"
    return words


def _table(title: str, axis: str, rates: Sequence[RateChange], width: int | None) -> list[str]:
    shown = _largest(rates)
    rows = [
        [
            plain(str(one.labels.get(axis))),
            "-" if one.cases is None else f"{one.cases:,}",
            "-" if one.rate_before is None else f"{one.rate_before:.1%}",
            "-" if one.rate_after is None else f"{one.rate_after:.1%}",
            "-" if one.difference is None else _points(one.difference),
            "-" if one.low is None else f"{_points(one.low)} to {_points(one.high or 0.0)}",
            "-" if one.p_corrected is None else _p(one.p_corrected),
            "unclear" if one.change is Change.UNKNOWN else one.change.value,
        ]
        for one in shown
    ]
    return [title, *_grid(_HEAD, rows, width), *_more(len(rates) - len(shown))]


def _value_row(value: ValueChange) -> list[str]:
    interval = "-"
    if value.low is not None and value.high is not None:
        interval = f"{_number(value.low, '+')} to {_number(value.high, '+')}"
    return [
        plain(value.name),
        f"{value.cases:,}",
        _number(value.mean_before),
        _number(value.mean_after),
        _number(value.difference, "+"),
        interval,
        _p(value.p_corrected),
        "unclear" if value.change is Shift.UNKNOWN else value.change.value,
    ]


def _number(number: float, sign: str = "-") -> str:
    """A number of few figures, with its sign always (`+`) or if it is negative (`-`)."""
    if 1_000 <= abs(number) < 10_000_000:
        return f"{number:{sign},.0f}"
    return f"{number:{sign}.4g}"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Rows under their heading; on a terminal of `width` columns the names, which come first, are cut."""
    widths = [max(map(cell_len, column)) for column in zip(head, *rows, strict=True)]
    if width is not None:
        room = width - sum(widths[1:]) - len(_GAP) * (len(widths) - 1)
        widths[0] = max(_NAME_MIN, min(widths[0], room))
    return [
        _GAP.join(_fit(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in [head, ["-" * size for size in widths], *rows]
    ]


def _largest(rates: Sequence[RateChange]) -> list[RateChange]:
    """The rates with the largest differences, in their order."""
    if len(rates) <= _ROWS_MAX:
        return list(rates)
    by_size = sorted(range(len(rates)), key=lambda at: -abs(rates[at].difference or 0.0))
    return [rates[at] for at in sorted(by_size[:_ROWS_MAX])]


def _more(count: int) -> list[str]:
    return [f"and {count:,} more with smaller differences (--json)"] if count > 0 else []


def _fit(text: str, width: int) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _where(rate: RateChange) -> str:
    labels = dict(rate.labels)
    if rate.threshold is not None:
        labels["threshold"] = f"{rate.threshold:g}"
    return cell_words(labels)


def _flipped_lines(flipped: FlippedCase, comparison: Comparison, width: int | None) -> list[str]:
    change = flipped.change
    labels = dict(change.labels)
    if change.threshold is not None:
        labels["threshold"] = f"{change.threshold:g}"
    lines = [f"---- {change.change}: {plain(change.case)} ({cell_words(labels)})"]
    sides = [
        _side(
            f"before ({plain(comparison.before)})",
            change.failed_before,
            change.answers_before,
            flipped.before,
        ),
        _side(
            f"after ({plain(comparison.after)})",
            change.failed_after,
            change.answers_after,
            flipped.after,
        ),
    ]
    if width is None or width < _SIDE_BY_SIDE:
        indented = (f"  {line}" for side in sides for line in side)
        if width is None:
            return [*lines, *indented, ""]
        return [part for line in (*lines, *indented) for part in _wrap(line, width)] + [""]
    half = (width - 5) // 2
    left, right = ([part for line in side for part in _wrap(line, half)] for side in sides)
    pairs = zip_longest(left, right, fillvalue="")
    return [*lines, *(f"  {set_cell_size(a, half)} | {b}".rstrip() for a, b in pairs), ""]


def _side(name: str, failed: int, answers: int, test: JudgedTest | None) -> list[str]:
    lines = [f"{name}: {failed:,} of {quantity(answers, 'first answer')} failed"]
    if test is None:
        return [*lines, "  the store has no such answer to show"]
    if test.score is not None:
        lines.append(f"  score {test.score:g}")
    for message in test.messages:
        text = message.content
        if (more := len(text) - _MESSAGE_MAX) > 0:
            text = f"{text[:_MESSAGE_MAX]}\n[{more:,} more characters]"
        first, *rest = text.splitlines() or [""]
        lines.append(f"  {plain(message.role)}: {plain(first)}")
        lines += [f"    {plain(line)}" for line in rest]
    return lines


def _wrap(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    found = wrap(line, width, subsequent_indent=f"{indent}  ", replace_whitespace=False)
    return found or [line]
