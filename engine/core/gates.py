"""Whether a run's failure rates are within a limit: the rules of a gate and what it decided, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from engine.core.errors import UsageError
from engine.core.rows import Coverage, Row

DEFAULT_MARGIN = 0.02
"""By how much a failure rate may be above that of the run it is compared with."""


class Certainty(StrEnum):
    """How sure a gate must be that a rate is above its limit, or below it.

    `RATE` compares the measured rate alone. `SURELY_ABOVE` fails only if the whole 95 % interval of the rate is
    above the limit, `SURELY_BELOW` unless the whole interval is below it.

    Example:
        >>> Certainty("surely-above").name
        'SURELY_ABOVE'
    """

    RATE = "rate"
    SURELY_ABOVE = "surely-above"
    SURELY_BELOW = "surely-below"


class Decision(StrEnum):
    """What a gate decided: passed, failed, or undecided because too little was measured.

    Example:
        >>> str(Decision.UNDECIDED)
        'undecided'
    """

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


class GateRule(StrEnum):
    """What one check of a gate looks at: the failure rate, each case, or the rate against another run's.

    Example:
        >>> [str(rule) for rule in GateRule]
        ['rate', 'each_case', 'against']
    """

    RATE = "rate"
    EACH_CASE = "each_case"
    AGAINST = "against"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What a gate demands of a run; shares are from 0 to 1. Raises UsageError for any that is not.

    Example:
        >>> GateRules(fail_above=0.2, by=("model",)).certainty
        <Certainty.RATE: 'rate'>
    """

    fail_above: float | None = None
    """The highest failure rate, failed / (passed + failed), that passes; None to demand none."""
    by: tuple[str, ...] = ()
    """The axes, by field or by name, each combination of whose values is checked on its own."""
    require_coverage: float = 1.0
    """The least share of the cells asked for that must have numbers, in each check."""
    certainty: Certainty = Certainty.RATE
    margin: float = DEFAULT_MARGIN
    """By how much the failure rate may be above that of the run it is compared with."""
    each_case: float | None = None
    """The least share of a case's answers that must pass, for each case; None to demand none."""
    thresholds: tuple[float, ...] = ()
    """The thresholds that are checked, each on its own; without any, all of the run."""

    def __post_init__(self) -> None:
        for name in ("fail_above", "require_coverage", "margin", "each_case"):
            share = getattr(self, name)
            # Written so that NaN, which compares as false with everything, is refused as well.
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name}: {share} is not a share from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseShare:
    """A test case and how many of its answers passed.

    Example:
        >>> CaseShare(case="greeting", passed=3, answers=4).share
        0.75
    """

    case: str
    passed: int
    answers: int

    @property
    def share(self) -> float:
        """The share of the answers that passed."""
        return self.passed / self.answers


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCheck:
    """One limit, held against the cells that share the values of some axes and a threshold.

    Example:
        >>> [str(check.decision) for check in run.gate(GateRules(fail_above=0.2)).checks]
        ['undecided']
    """

    rule: GateRule
    labels: Mapping[str, Any]
    """The values of the axes in `GateRules.by` that the cells share, by field."""
    threshold: float | None
    """The threshold of the cells; None if the evaluation has none."""
    decision: Decision
    reason: str
    """The decision in words, without labels and threshold."""
    limit: float
    """The limit of the rule: the highest rate, the least share, or the margin."""
    coverage: Coverage
    """The cells that the check is about."""
    failed: int = 0
    """Failed tests; for `EACH_CASE` failed cases."""
    total: int = 0
    """Tests that passed or failed; for `EACH_CASE` cases."""
    rate: float | None = None
    """failed / total; None if nothing was measured."""
    low: float | None = None
    """The low end of the 95 % interval of the rate, or for `AGAINST` of the difference; None if unknown."""
    high: float | None = None
    interval: str | None = None
    """The name of the method that gave the interval."""
    cases: tuple[CaseShare, ...] = ()
    """For `EACH_CASE` the cases that pass too rarely, the worst first."""
    other_rate: float | None = None
    """For `AGAINST` the rate of the other run, over the cells that both have."""
    cells_compared: int | None = None
    """For `AGAINST` the number of cells that both have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallRate:
    """The failure rate of all cells of a run at one threshold.

    Example:
        >>> [overall.rate for overall in run.gate(GateRules(fail_above=0.2)).overall]
        [None]
    """

    threshold: float | None
    failed: int
    total: int
    rate: float | None
    """failed / total; None if nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """What a gate decided about a run, and why.

    Example:
        >>> verdict = run.gate(GateRules(fail_above=0.2))
        >>> str(verdict.decision), verdict.reason
        ('undecided', 'nothing was measured')
    """

    run: str
    decision: Decision
    """`FAILED` if any check has failed, else `UNDECIDED` if any is undecided, else `PASSED`."""
    reason: str
    """The decision in a sentence."""
    rules: GateRules
    against: str | None
    """The run that it was compared with."""
    overall: tuple[OverallRate, ...]
    """One for each threshold that was checked, the lowest first."""
    checks: tuple[GateCheck, ...]
    """In the order of the run's cells; for each, its rate, its cases, and the comparison."""
    coverage: Coverage
    """All cells that were checked, a cell for each threshold."""
    judge: str
    """The judge that decided what passed; empty for the service itself."""


Bounds: TypeAlias = tuple[float, float]


def decide(
    rate: float | None, bounds: Bounds | None, limit: float, certainty: Certainty
) -> Decision:
    """Decide whether a rate, or a difference of rates, with this 95 % interval is above a limit."""
    if rate is None:
        return Decision.UNDECIDED
    if certainty is Certainty.RATE:
        return Decision.FAILED if rate > limit else Decision.PASSED
    if bounds is None:
        return Decision.UNDECIDED
    low, high = bounds
    is_failed = low > limit if certainty is Certainty.SURELY_ABOVE else not high < limit
    return Decision.FAILED if is_failed else Decision.PASSED


def decide_cell(row: Row, rules: GateRules) -> Decision | None:
    """Decide about one cell as about a sample of its own; None if it has no numbers."""
    if row.total is None or row.outdated:
        return None
    if rules.fail_above is None:
        return Decision.PASSED if row.total else Decision.UNDECIDED
    bounds = None if row.ci_low is None or row.ci_high is None else (row.ci_low, row.ci_high)
    return decide(row.failure_rate, bounds, rules.fail_above, rules.certainty)


def is_gated(row: Row, rules: GateRules, folded_field: str | None) -> bool:
    """Whether the rules are about a cell: the sweep asks for it, and its threshold is one of theirs."""
    if row.asked is False:
        return False
    at = None if folded_field is None else row.labels.get(folded_field)
    return not rules.thresholds or at in rules.thresholds
