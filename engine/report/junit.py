"""A gate's decision as a JUnit file: a test case for each check and for each cell."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import BinaryIO

from engine.core.gates import Decision, GateCheck, GateVerdict, decide_cell, is_gated
from engine.core.rows import Row, Rows
from engine.report.cells import CellTally, above_words, cell_words, missing_words
from engine.report.failed_cases import FailedCase, FailedCases, cases_of
from engine.report.gate import check_words

# What XML 1.0 cannot hold, controls that it discourages, and what turns the direction of writing around.
_FORBIDDEN = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]"
    "|[\\u202a-\\u202e\\u2066-\\u2069]"
)
_REPLACEMENT = "\ufffd"
_IN_ATTRIBUTES = str.maketrans({"\n": "&#10;", "\t": "&#9;"})
_CASES_A_CELL = 10


async def write_junit(
    stream: BinaryIO,
    verdict: GateVerdict,
    tally: CellTally,
    rows: Rows,
    folded_field: str | None,
    failed_cases: FailedCases,
) -> None:
    """Write the suite `gate` with a test case for each check, then the suite `cells` with one for each cell.

    A cell above the limit is a failure, with the worst ten of its failed tests; one without numbers is an
    error. Rows are read one after the other.
    """
    by_cell = failed_cases.by_cell()

    def write(line: str) -> None:
        stream.write(f"{line}\n".encode())

    write('<?xml version="1.0" encoding="UTF-8"?>')
    write(f"<testsuites name={_attribute(f'nightsweep gate {verdict.run}')}>")
    decisions = [check.decision for check in verdict.checks]
    write(
        f'<testsuite name="gate" tests="{len(decisions)}"'
        f' failures="{decisions.count(Decision.FAILED)}"'
        f' errors="{decisions.count(Decision.UNDECIDED)}" skipped="0">'
    )
    for check in verdict.checks:
        write(_check_element(verdict, check))
    write("</testsuite>")
    write(
        f'<testsuite name="cells" tests="{tally.cells}" failures="{tally.above}"'
        f' errors="{tally.missing}" skipped="{tally.unsure}">'
    )
    async for row in rows():
        if is_gated(row, verdict.rules, folded_field):
            write(_cell_element(verdict, row, cases_of(row, folded_field, by_cell)))
    write("</testsuite>")
    write("</testsuites>")


def _check_element(verdict: GateVerdict, check: GateCheck) -> str:
    attributes = {"classname": f"{verdict.run}.gate", "name": check_words(check)}
    match check.decision:
        case Decision.FAILED:
            cases = "\n".join(
                f"{one.case}: {one.passed} of {one.answers} answers passed" for one in check.cases
            )
            return _element(attributes, "failure", check.reason, check.rule.value, cases)
        case Decision.UNDECIDED:
            return _element(attributes, "error", check.reason, "undecided", "")
        case Decision.PASSED:
            return _element(attributes)


def _cell_element(verdict: GateVerdict, row: Row, cases: Sequence[FailedCase]) -> str:
    attributes = {"classname": f"{verdict.run}.cells", "name": cell_words(row.labels)}
    if row.seconds is not None:
        attributes["time"] = f"{row.seconds:.3f}"
    match decide_cell(row, verdict.rules):
        case Decision.PASSED:
            return _element(attributes)
        case Decision.FAILED:
            reason = above_words(row, verdict.rules)
            return _element(
                attributes, "failure", reason, "above the limit", _cases_text(row, cases)
            )
        case Decision.UNDECIDED if row.total:
            return _element(attributes, "skipped", "its rate has no interval")
        case _:
            return _element(attributes, "error", missing_words(row), "no numbers", "")


def _cases_text(row: Row, cases: Sequence[FailedCase]) -> str:
    shown = cases[:_CASES_A_CELL]
    lines = []
    for case in shown:
        lines.append(f"---- {case.title} ----")
        lines += [f"{message.role}: {message.content}" for message in case.messages]
        if case.messages_left_out:
            lines.append(f"[{case.messages_left_out:,} more messages]")
        lines.append("")
    if shown and (more := (row.failed or 0) - len(shown)) > 0:
        lines.append(f"[{more:,} more failed tests]")
    return "\n".join(lines)


def _element(
    attributes: Mapping[str, str],
    outcome: str | None = None,
    message: str = "",
    kind: str | None = None,
    text: str = "",
) -> str:
    begin = f"<testcase{''.join(f' {name}={_attribute(of)}' for name, of in attributes.items())}"
    if outcome is None:
        return f"{begin}/>"
    of_kind = "" if kind is None else f" type={_attribute(kind)}"
    inner = f"<{outcome} message={_attribute(message)}{of_kind}"
    inner += f">{_text(text)}</{outcome}>" if text else "/>"
    return f"{begin}>{inner}</testcase>"


def _attribute(text: str) -> str:
    return f'"{_text(text).translate(_IN_ATTRIBUTES)}"'


def _text(text: str) -> str:
    """The text as XML: what XML cannot hold is replaced, and a carriage return survives."""
    return escape(_FORBIDDEN.sub(_REPLACEMENT, text)).replace("\r", "&#13;")
