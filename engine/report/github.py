"""A gate's decision for GitHub Actions: annotations, and a job summary within GitHub's limits."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.core.gates import Decision, GateCheck, GateVerdict
from engine.core.listing import quantity
from engine.core.terminal import plain
from engine.report.cells import CellTally, above_words, cell_words, missing_words
from engine.report.failed_cases import FailedCase, FailedCases
from engine.report.gate import check_words, rules_words, worst_first
from engine.report.markdown import code_span, fence, table_line

ANNOTATIONS_MAX = 10
"""GitHub shows this many errors, and as many warnings, of a step, and drops the others."""
SUMMARY_MAX = 1_000_000
"""The longest that a step's summary may become, in bytes. GitHub drops one of 1 MiB or more as a whole."""
_ENDING = 1_000
"""Bytes that are kept free for the line on what was left out."""
_MESSAGE_MAX = 1_000


def annotations(verdict: GateVerdict, tally: CellTally) -> list[str]:
    """Workflow commands that show what failed: errors, and warnings about what has no numbers.

    Of each at most ten, the worst first: failed checks, then cells above the limit. The others are counted
    in one notice.
    """
    problems = [
        (check_words(check), check.reason) for check in worst_first(verdict.checks, Decision.FAILED)
    ]
    gaps = [
        (check_words(check), check.reason)
        for check in worst_first(verdict.checks, Decision.UNDECIDED)
    ]
    count, gap_count = len(problems), len(gaps) + tally.missing
    if verdict.decision is Decision.FAILED:
        # Where the gate passes, single cells above the limit are no errors.
        count += tally.above
        problems += [
            (cell_words(row.labels), above_words(row, verdict.rules))
            for row in tally.worst[:ANNOTATIONS_MAX]
        ]
    gaps += [
        (cell_words(row.labels), missing_words(row))
        for row in tally.missing_first[:ANNOTATIONS_MAX]
    ]
    title = f"nightsweep gate: {verdict.run}"
    lines = [_command("error", title, *one) for one in problems[:ANNOTATIONS_MAX]]
    lines += [_command("warning", title, *one) for one in gaps[:ANNOTATIONS_MAX]]
    rest = [
        (count - ANNOTATIONS_MAX, "more checks and cells above the limit"),
        (gap_count - ANNOTATIONS_MAX, "more checks and cells without numbers"),
    ]
    if left_out := [f"{number:,} {what}" for number, what in rest if number > 0]:
        lines.append(_command("notice", title, "not shown here", ", ".join(left_out)))
    return lines


def _command(level: str, title: str, where: str, message: str) -> str:
    text = f"{where}: {message}"
    if len(text) > _MESSAGE_MAX:
        text = f"{text[: _MESSAGE_MAX - 1]}…"
    return f"::{level} title={_escape_property(title)}::{_escape(text)}"


def _escape(text: str) -> str:
    """The data of a workflow command, on one line."""
    return plain(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


@dataclass(slots=True)
class _Summary:
    """Markdown that is cut between two lines once it is too long; what does not fit is counted."""

    room: int
    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> bool:
        """Add lines that belong together, if all of them fit; returns whether they did."""
        size = sum(len(line.encode()) + 1 for line in lines)
        if size > self.room:
            return False
        self.room -= size
        self.lines += lines
        return True

    def add_part(self, head: Sequence[str], blocks: Iterable[Sequence[str]], room: int) -> int:
        """Add a heading and as many blocks as fit into `room` bytes; returns the number of blocks added."""
        rest = self.room
        room = min(room, rest)
        self.room = room
        count = 0
        for block in blocks:
            if not self.add(*(head if not count else ()), *block):
                break
            count += 1
        self.room += rest - room
        return count


def summary(
    verdict: GateVerdict, tally: CellTally, failed_cases: FailedCases, *, room: int = SUMMARY_MAX
) -> str:
    """The decision as Markdown of at most `room` bytes; empty if not even its first lines fit.

    Texts of models stand in fences that are longer than any in them. What does not fit is counted in the last
    line.
    """
    found = _Summary(room - _ENDING)
    is_begun = found.add(
        f"## {code_span(verdict.run)}: gate {verdict.decision}",
        "",
        f"{_sentence(verdict)}",
        "",
        *(f"- {code_span(rule)}" for rule in rules_words(verdict)),
        "",
    )
    if not is_begun:
        return ""
    left_out = list(_add_parts(found, verdict, tally, failed_cases))
    if left_out:
        found.lines += ["", f"Left out, because GitHub shows no more: {', '.join(left_out)}."]
    return "\n".join(found.lines) + "\n"


def _sentence(verdict: GateVerdict) -> str:
    coverage = verdict.coverage
    return (
        f"**{verdict.decision.upper()}**: {code_span(verdict.reason)}."
        f" {coverage.answered:,} of {coverage.cells:,} cells have numbers."
    )


def _add_parts(
    found: _Summary, verdict: GateVerdict, tally: CellTally, failed_cases: FailedCases
) -> Iterator[str]:
    """Add the tables and the failed cases, and yield what did not fit, in words."""
    third = found.room // 3
    checks = [
        one
        for decision in (Decision.FAILED, Decision.UNDECIDED, Decision.PASSED)
        for one in worst_first(verdict.checks, decision)
    ]
    shown = found.add_part(_table_head("decision", "check", "why"), map(_check_row, checks), third)
    if (more := len(checks) - shown) > 0:
        yield quantity(more, "check")
    above = (
        [table_line(code_span(cell_words(row.labels)), above_words(row, verdict.rules))]
        for row in tally.worst
    )
    head = ["", "### Cells above the limit", "", *_table_head("cell", "rate")]
    if (more := tally.above - found.add_part(head, above, third)) > 0:
        yield f"{more:,} cells above the limit"
    missing = (
        [table_line(code_span(cell_words(row.labels)), code_span(missing_words(row)))]
        for row in tally.missing_first
    )
    head = ["", "### Cells without numbers", "", *_table_head("cell", "why")]
    if (more := tally.missing - found.add_part(head, missing, third // 2)) > 0:
        yield f"{more:,} cells without numbers"
    head = ["", "### Failed cases, the worst first"]
    shown = found.add_part(head, map(_case_block, failed_cases.worst()), found.room)
    if (more := failed_cases.total - shown) > 0:
        yield quantity(more, "failed case")


def _table_head(*names: str) -> list[str]:
    return [table_line(*names), table_line(*("---" for _ in names))]


def _check_row(check: GateCheck) -> list[str]:
    words = code_span(check_words(check)), code_span(check.reason)
    return [table_line(check.decision.value, *words)]


def _case_block(case: FailedCase) -> list[str]:
    lines = ["", f"{code_span(cell_words(case.labels))} {code_span(case.title)}", ""]
    for message in case.messages:
        lines += [*fence(f"{message.role}: {message.content}").split("\n"), ""]
    if case.messages_left_out:
        lines.append(f"{case.messages_left_out:,} more messages.")
    return lines
