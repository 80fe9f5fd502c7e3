"""A gate's decision as text, in the vendor's words where it has some."""

from collections.abc import Iterable

from engine.core.gates import (
    Certainty,
    Decision,
    GateCheck,
    GateRule,
    GateRules,
    GateVerdict,
    OverallRate,
)
from engine.core.listing import quantity
from engine.core.terminal import plain
from engine.report.cells import cell_words
from engine.report.words import at_threshold, judge_words

_MARKS = {Decision.PASSED: "passed", Decision.FAILED: "FAILED", Decision.UNDECIDED: "UNDECIDED"}
_MARK_WIDTH = max(map(len, _MARKS.values()))
_RULES = {
    GateRule.RATE: "failure rate",
    GateRule.EACH_CASE: "each case",
    GateRule.AGAINST: "against",
}
_CASES_SHOWN = 10


def gate_lines(verdict: GateVerdict) -> list[str]:
    """The overall failure rate at each threshold, the limits, and a line for each check."""
    has_several = len(verdict.overall) > 1
    lines = [_overall_line(one, with_threshold=has_several) for one in verdict.overall]
    lines += [f"limit: {rule}" for rule in rules_words(verdict)]
    if verdict.judge:
        lines.append(judge_words(verdict.judge))
    lines.append("")
    for check in verdict.checks:
        mark = _MARKS[check.decision].ljust(_MARK_WIDTH)
        lines.append(f"{mark}  {check_words(check)}: {plain(check.reason)}")
        lines += _case_lines(check)
    return [*lines, ""]


def decision_line(verdict: GateVerdict) -> str:
    """The decision and the reason for it."""
    return f"{plain(verdict.run)}: {verdict.decision}: {plain(verdict.reason)}"


def check_words(check: GateCheck) -> str:
    """What a check looks at: its rule, and the cells that it is about."""
    labels = dict(check.labels)
    if check.threshold is not None:
        labels["threshold"] = f"{check.threshold:g}"
    return f"{_RULES[check.rule]} ({cell_words(labels)})" if labels else _RULES[check.rule]


def rules_words(verdict: GateVerdict) -> list[str]:
    """The limits of a gate, each in words."""
    rules = verdict.rules
    found = []
    if rules.fail_above is not None:
        found.append(f"at most {rules.fail_above:.2%} of the tests fail{certainty_words(rules)}")
    if rules.each_case is not None:
        found.append(f"each case passes in at least {rules.each_case:.2%} of its answers")
    if verdict.against is not None:
        found.append(
            f"at most {rules.margin * 100:.2f} points more fail than in {plain(verdict.against)}"
            f"{certainty_words(rules)}"
        )
    return [*found, f"at least {rules.require_coverage:.2%} of the cells have numbers"]


def certainty_words(rules: GateRules) -> str:
    """How sure the gate has to be, beginning with a comma; empty for the measured rate."""
    match rules.certainty:
        case Certainty.RATE:
            return ""
        case Certainty.SURELY_ABOVE:
            return ", or the 95 % interval reaches below that"
        case Certainty.SURELY_BELOW:
            return ", and the whole 95 % interval is below that"


def worst_first(checks: Iterable[GateCheck], decision: Decision) -> list[GateCheck]:
    """The checks with a decision, the one that is farthest from its limit first."""
    found = [check for check in checks if check.decision is decision]
    return sorted(found, key=_distance, reverse=True)


def _distance(check: GateCheck) -> float:
    rate = check.rate or 0.0
    match check.rule:
        case GateRule.RATE:
            return rate - check.limit
        case GateRule.EACH_CASE:
            return rate
        case GateRule.AGAINST:
            return rate - (check.other_rate or 0.0) - check.limit


def _overall_line(overall: OverallRate, *, with_threshold: bool) -> str:
    at = at_threshold(overall.threshold) if with_threshold else ""
    if overall.rate is None:
        return f"Overall Failure Rate: unknown{at}, because nothing was measured"
    return f"Overall Failure Rate: {overall.rate:.2%}{at}"


def _case_lines(check: GateCheck) -> list[str]:
    lines = [
        f"    {plain(one.case)}: {one.passed} of {quantity(one.answers, 'answer')} passed"
        for one in check.cases[:_CASES_SHOWN]
    ]
    if (more := len(check.cases) - _CASES_SHOWN) > 0:
        lines.append(f"    and {quantity(more, 'more case')}")
    return lines
