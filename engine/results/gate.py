"""The decisions of a gate, from what was observed of a run: each combination of some axes, each threshold."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeAlias

from engine.core.errors import UsageError
from engine.core.estimates import Estimate, Rate
from engine.core.gates import (
    Bounds,
    CaseShare,
    Certainty,
    Decision,
    GateCheck,
    GateRule,
    GateRules,
    GateVerdict,
    OverallRate,
    decide,
)
from engine.core.listing import quantity
from engine.core.rows import Coverage
from engine.core.samples import Sample, Setting
from engine.core.statistics import compare_pairs, difference_of_intervals, failure_rate
from engine.results.matching import Matched
from engine.results.observations import Observations, case_name

_Key: TypeAlias = tuple[tuple[Any, ...], float | None]
"""The values on the axes of `GateRules.by`, and the threshold."""
_Make: TypeAlias = Callable[..., GateCheck]
_PAIRED, _UNPAIRED = "paired by case", "newcombe"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRun:
    """A run that the gated one is compared with."""

    name: str
    matched: Matched
    """The gated run's settings, with their counterparts."""


def decide_gate(
    seen: Observations,
    rules: GateRules,
    *,
    run: str,
    judge: str,
    other: OtherRun | None = None,
) -> GateVerdict:
    """Decide about the settings of a run; `run` and `judge` are the names that the verdict has.

    `rules.by` are fields. Raises UsageError if each case is to be checked and no answer names its cases.
    """
    groups: dict[_Key, list[Setting]] = {}
    positions = [seen.axes.index(name) for name in rules.by]
    for setting in seen.settings:
        if not rules.thresholds or setting.threshold in rules.thresholds:
            key = tuple(setting.labels[at] for at in positions), setting.threshold
            groups.setdefault(key, []).append(setting)
    if rules.each_case is not None:
        _check_names(seen)
    coverage = Coverage()
    checks: list[GateCheck] = []
    compared = None if other is None else _Counterparts.of(other.matched)
    for (values, at), settings in groups.items():
        group = _Group(seen, rules, settings, seen.sample(settings, rules.by))
        coverage.add_all(group.sample.coverage)
        labels = dict(zip(rules.by, values, strict=True))
        make = partial(GateCheck, labels=labels, threshold=at, coverage=group.sample.coverage)
        checks += group.checks(make, compared)
    decision = _worst(check.decision for check in checks)
    return GateVerdict(
        run=run,
        decision=decision,
        reason=_sum_up(checks, decision),
        rules=rules,
        against=None if other is None else other.name,
        overall=tuple(_overall(groups)),
        checks=tuple(checks),
        coverage=coverage,
        judge=judge,
    )


def _check_names(seen: Observations) -> None:
    answered = [one for one in seen.settings if one.answers]
    if answered and not any(_names_cases(seen, one) for one in answered):
        raise UsageError(
            "--each-case needs the names of the cases, and the answers of this run do not have them,"
            " as in version 1.0.8 of the Circuit Breaker Labs API"
        )


def _names_cases(seen: Observations, setting: Setting) -> bool:
    return bool(seen.case_fields.named) or not setting.unnamed


def _overall(groups: dict[_Key, list[Setting]]) -> Iterator[OverallRate]:
    counted: dict[float | None, list[int]] = {}
    for (_, at), settings in groups.items():
        counts = counted.setdefault(at, [0, 0])
        counts[0] += sum(one.passed for one in settings)
        counts[1] += sum(one.failed for one in settings)
    for at in sorted(counted, key=lambda at: -1.0 if at is None else at):
        passed, failed = counted[at]
        yield OverallRate(
            threshold=at,
            failed=failed,
            total=passed + failed,
            rate=failure_rate(failed, passed + failed),
        )


@dataclass(frozen=True, slots=True)
class _Counterparts:
    """The settings of the other run, where both have an answer, by the id of the object of the own setting."""

    matched: Matched
    by_id: Mapping[int, Setting]

    @classmethod
    def of(cls, matched: Matched) -> Self:
        return cls(matched, {id(one): other for one, other in matched.answered()})


@dataclass(frozen=True, slots=True)
class _Group:
    """The settings of one combination of values and one threshold."""

    seen: Observations
    rules: GateRules
    settings: Sequence[Setting]
    sample: Sample

    def checks(self, make: _Make, other: _Counterparts | None) -> Iterator[GateCheck]:
        """Hold each limit of the rules against the settings."""
        if self.rules.fail_above is not None:
            yield self._check_rate(make, self.rules.fail_above)
        if self.rules.each_case is not None:
            yield self._check_cases(make, self.rules.each_case)
        if other is not None:
            yield self._check_against(make, other)

    def _check_rate(self, make: _Make, limit: float) -> GateCheck:
        found = self.sample.estimate(Rate.FAILURE)
        bounds = _bounds(found)
        decision = decide(found.rate, bounds, limit, self.rules.certainty)
        decision, lacking = self._require_coverage(decision)
        return make(
            rule=GateRule.RATE,
            decision=decision,
            reason=lacking or _rate_words(found, bounds, limit, self.rules.certainty),
            limit=limit,
            failed=found.failed,
            total=found.total,
            rate=found.rate,
            low=found.low,
            high=found.high,
            interval=found.interval,
        )

    def _check_cases(self, make: _Make, limit: float) -> GateCheck:
        tallies = self.sample.cases
        shares = [
            CaseShare(case=case_name(key), passed=one.tests - one.failed, answers=one.tests)
            for key, one in tallies.items()
            if one.tests
        ]
        failed = sorted((one for one in shares if one.share < limit), key=lambda one: one.share)
        unnamed = sum(one.unnamed for one in self.settings if not _names_cases(self.seen, one))
        words = f"{len(failed):,} of {quantity(len(shares), 'case')} passed less often"
        words += f" than in {limit:.2%} of their answers" if failed else " than allowed"
        decision = Decision.FAILED if failed else Decision.PASSED
        if not shares:
            decision, words = Decision.UNDECIDED, "nothing was measured"
        elif unnamed and not failed:
            decision = Decision.UNDECIDED
            words = f"{quantity(unnamed, 'answer')} without names of cases"
        decision, lacking = self._require_coverage(decision)
        return make(
            rule=GateRule.EACH_CASE,
            decision=decision,
            reason=lacking or words,
            limit=limit,
            failed=len(failed),
            total=len(shares),
            rate=failure_rate(len(failed), len(shares)),
            cases=tuple(failed),
        )

    def _check_against(self, make: _Make, other: _Counterparts) -> GateCheck:
        compared = _compare(other, self.settings)
        limit, certainty = self.rules.margin, self.rules.certainty
        decision = decide(compared.difference, compared.bounds, limit, certainty)
        decision, lacking = self._require_coverage(decision)
        return make(
            rule=GateRule.AGAINST,
            decision=decision,
            reason=lacking or compared.words(limit, certainty),
            limit=limit,
            failed=compared.failed,
            total=compared.total,
            rate=compared.rate,
            low=None if compared.bounds is None else compared.bounds[0],
            high=None if compared.bounds is None else compared.bounds[1],
            interval=compared.interval,
            other_rate=compared.other_rate,
            cells_compared=compared.cells,
        )

    def _require_coverage(self, decision: Decision) -> tuple[Decision, str]:
        """The decision once the coverage is considered, and what is lacking, in words.

        What has failed stays failed: missing cells do not excuse it.
        """
        coverage = self.sample.coverage
        is_covered = coverage.answered >= self.rules.require_coverage * coverage.cells
        if decision is Decision.FAILED or is_covered:
            return decision, ""
        return Decision.UNDECIDED, (
            f"numbers for {coverage.answered:,} of {quantity(coverage.cells, 'cell')},"
            f" required {self.rules.require_coverage:.2%}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """The failure rates of two runs over the settings of which both have answers."""

    cells: int
    failed: int
    total: int
    rate: float | None
    other_rate: float | None
    bounds: Bounds | None
    """The 95 % interval of the difference."""
    interval: str | None

    @property
    def difference(self) -> float | None:
        if self.rate is None or self.other_rate is None:
            return None
        return self.rate - self.other_rate

    def words(self, limit: float, certainty: Certainty) -> str:
        if self.rate is None or self.other_rate is None:
            return "no cell has numbers in both runs"
        words = f"{self.rate:.2%} against {self.other_rate:.2%}"
        words += f" over {quantity(self.cells, 'cell')} of both"
        if certainty is not Certainty.RATE and self.bounds is None:
            words += ", no interval of the difference"
        elif certainty is not Certainty.RATE and self.bounds is not None:
            low, high = (100 * one for one in self.bounds)
            words += f", 95 % interval of the difference {low:+.2f} to {high:+.2f} points"
        return f"{words}, margin {100 * limit:.2f} points"


def _compare(others: _Counterparts, settings: Sequence[Setting]) -> _Compared:
    matched = others.matched
    pairs = [(one, others.by_id[id(one)]) for one in settings if id(one) in others.by_id]
    own = matched.own.sample([one for one, _ in pairs]).estimate(Rate.FAILURE)
    other = matched.other.sample([one for _, one in pairs]).estimate(Rate.FAILURE)
    bounds, interval = _difference_interval(matched, pairs, own, other)
    return _Compared(
        cells=sum(one.coverage.answered for one, _ in pairs),
        failed=own.failed,
        total=own.total,
        rate=own.rate,
        other_rate=other.rate,
        bounds=bounds,
        interval=interval,
    )


def _difference_interval(
    matched: Matched,
    pairs: Sequence[tuple[Setting, Setting]],
    own: Estimate,
    other: Estimate,
) -> tuple[Bounds | None, str | None]:
    """The interval of the difference: by case where both name the same ones, else that of two samples."""
    sums: dict[Any, list[int]] = {}
    for one, theirs in pairs:
        for case in matched.shared_cases(one, theirs):
            counts = (case.own.failed, case.own.tests, case.other.failed, case.other.tests)
            before = sums.setdefault(case.key, [0, 0, 0, 0])
            sums[case.key] = [before[at] + counts[at] for at in range(4)]
    found = compare_pairs([((a, b), (c, d)) for a, b, c, d in sums.values()])
    if found is not None:
        return (found.interval.low, found.interval.high), _PAIRED
    of_own, of_other = _bounds(own), _bounds(other)
    if own.rate is None or other.rate is None or of_own is None or of_other is None:
        return None, None
    return difference_of_intervals((own.rate, *of_own), (other.rate, *of_other)), _UNPAIRED


def _bounds(found: Estimate) -> Bounds | None:
    return None if found.low is None or found.high is None else (found.low, found.high)


def _worst(decisions: Iterable[Decision]) -> Decision:
    found = set(decisions)
    if Decision.FAILED in found:
        return Decision.FAILED
    return Decision.PASSED if found == {Decision.PASSED} else Decision.UNDECIDED


def _sum_up(checks: Sequence[GateCheck], decision: Decision) -> str:
    """The decision in a sentence: the check's own if there is one, else how many there are of each."""
    if len(checks) == 1:
        return checks[0].reason
    if not any(check.total for check in checks):
        return "nothing was measured"
    count = sum(check.decision is decision for check in checks)
    return f"{count:,} of {len(checks):,} checks {decision}"


def _rate_words(found: Estimate, bounds: Bounds | None, limit: float, certainty: Certainty) -> str:
    if found.rate is None:
        return "nothing was measured"
    words = f"{found.rate:.2%} ({found.failed:,} of {quantity(found.total, 'test')} failed)"
    if certainty is not Certainty.RATE:
        words += (
            ", no interval"
            if bounds is None
            else f", 95 % interval {bounds[0]:.2%} to {bounds[1]:.2%}"
        )
    return f"{words}, limit {limit:.2%}"
