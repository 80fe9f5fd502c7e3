"""Samples of tests: what was observed of the settings of a sweep, and the rates of any set of them."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from engine.core.case_tallies import CaseKey, CaseTable, CaseTally, Rounds, add_tallies
from engine.core.cell_tests import CaseNumbers, CellTests
from engine.core.estimates import Estimate, Rate, estimate_by_case, estimate_of
from engine.core.rows import Coverage
from engine.core.statistics import (
    Method,
    clustered_mean,
    clustered_rate,
    failure_rate,
    rate_bounds,
    wilson_of_rate,
)
from engine.core.values import Value

_NO_VALUES: Mapping[str, list[float]] = MappingProxyType({})


@dataclass(slots=True, kw_only=True)
class Setting:
    """All repeats of a point of the matrix at one threshold, and what was observed of them."""

    labels: tuple[Hashable, ...]
    """Its values on the axes of the sweep but the threshold's, in their order."""
    digests: tuple[str | None, ...]
    """The digests of their contents, as rows have them; None for axes without contents."""
    threshold: float | None
    coverage: Coverage = field(default_factory=Coverage)
    passed: int = 0
    failed: int = 0
    answers: int = 0
    """Cells with numbers."""
    most_tests: int = 0
    """The most tests that one of its answers has."""
    is_layered: bool = False
    """Whether an answer asked cases that failed again, in variations, or may have asked unnamed cases again."""
    first: int | None = 0
    """First answers; None if that of any answer is unknown."""
    first_failed: int = 0
    cases_failed: int | None = 0
    """Cases with any failure, summed over its answers; None if that of any answer is unknown."""
    most_first: int = 0
    """The most first answers that one of its answers has."""
    unnamed: int = 0
    """Answers that do not name their cases."""
    cases: CaseTable = field(default_factory=CaseTable)
    values: Mapping[str, list[float]] = field(default_factory=lambda: _NO_VALUES)
    """The sum and the count of each numeric value."""
    shares: frozenset[str] = frozenset()
    """The values that are true or false, counted as 1 and 0."""

    def add(self, tests: CellTests) -> None:
        """Add the tests of one answer, in place."""
        self.is_layered = self.is_layered or tests.is_layered
        if (found := tests.round()) is not None:
            assert tests.threshold is not None
            failed = [score < tests.threshold for score in found.scores]
            self.add_rounds(Rounds(found.names, 1, failed))
            return
        self.answers += 1
        self.passed += tests.total - tests.failed
        self.failed += tests.failed
        self.most_tests = max(self.most_tests, tests.total)
        self._add_numbers(tests.numbers())
        if (by_case := tests.by_case()) is not None:
            self.cases.add(
                {
                    name: CaseTally(one.tests, one.failed, one.first, one.first_failed)
                    for name, one in by_case.items()
                }
            )
        else:
            self.unnamed += 1
            self.is_layered = self.is_layered or not tests.is_one_each

    def add_rounds(self, rounds: Rounds) -> None:
        """Add answers that asked each of some cases once, in place."""
        each, failed = len(rounds.names), sum(rounds.failed)
        total = rounds.answers * each
        self.answers += rounds.answers
        self.passed += total - failed
        self.failed += failed
        self.most_tests = max(self.most_tests, each)
        if self.first is not None:
            self.first += total
            self.first_failed += failed
            self.most_first = max(self.most_first, each)
        if self.cases_failed is not None:
            self.cases_failed += failed
        self.cases.add_rounds(rounds)

    def _add_numbers(self, numbers: CaseNumbers) -> None:
        if numbers.cases is None or numbers.first_failed is None:
            self.first = None
        elif self.first is not None:
            self.first += numbers.cases
            self.first_failed += numbers.first_failed
            self.most_first = max(self.most_first, numbers.cases)
        if numbers.cases_failed is None:
            self.cases_failed = None
        elif self.cases_failed is not None:
            self.cases_failed += numbers.cases_failed

    def add_values(self, values: Mapping[str, Value]) -> None:
        """Add the numbers among the values of an answer, in place; true counts as 1, false as 0."""
        for name, value in values.items():
            if isinstance(value, str):
                continue
            if isinstance(value, bool):
                self.shares |= {name}
            if name not in self.values:
                self.values = {**self.values, name: [0.0, 0]}
            sums = self.values[name]
            sums[0] += value
            sums[1] += 1

    @property
    def tally(self) -> CaseTally:
        """Its tests as those of one case without layers."""
        total = self.passed + self.failed
        return CaseTally(total, self.failed, total, self.failed)

    def tallies(
        self, scope: CaseKey, case: CaseKey | None = None
    ) -> Iterator[tuple[CaseKey, CaseTally]]:
        """Yield its tests by case, as `Sample.add` takes them; none of answers that do not name their cases."""
        if case is None:
            for name, tally in self.cases:
                yield (*scope, name), tally
        elif self.answers:
            yield case, self.tally


@dataclass(slots=True)
class _Unnamed:
    """The answers of a scope that do not name their cases."""

    answers: int = 0
    most_tests: int = 0
    most_first: int = 0
    cases_failed: int | None = 0

    def add(self, setting: Setting) -> None:
        self.answers += setting.answers
        self.most_tests = max(self.most_tests, setting.most_tests)
        self.most_first = max(self.most_first, setting.most_first)
        self.cases_failed = _plus(self.cases_failed, setting.cases_failed)


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


class ValueMean(NamedTuple):
    """The mean of a value of the job kind over the answers of a sample, with its 95 % interval by case."""

    mean: float
    low: float | None
    high: float | None
    answers: int
    """The answers that have the value."""


class Sample:
    """The tests of any set of settings, by case, and their rates."""

    def __init__(self) -> None:
        self.coverage = Coverage()
        self.passed = 0
        self.failed = 0
        self.cases: dict[CaseKey, CaseTally] = {}
        """The tests by case, as far as answers name their cases."""
        self._is_layered = False
        self._first: int | None = 0
        self._first_failed = 0
        self._unnamed: dict[CaseKey, _Unnamed] = {}
        self._values: dict[str, dict[CaseKey, list[float]]] = {}
        self._shares: set[str] = set()
        self._most_first: dict[CaseKey, int] = {}
        self._missing: dict[CaseKey, int] = {}

    def add(self, setting: Setting, scope: CaseKey, case: CaseKey | None = None) -> None:
        """Add a setting, in place.

        `scope` is what names of its cases are unique in, such as its group. `case` is its case if an axis of
        the sweep has the cases, so that all of its tests belong to one.
        """
        self.coverage.add_all(setting.coverage)
        self.passed += setting.passed
        self.failed += setting.failed
        self._is_layered = self._is_layered or setting.is_layered
        for key, tally in setting.tallies(scope, case):
            before = self.cases.get(key)
            self.cases[key] = tally if before is None else add_tallies(before, tally)
        self._first = _plus(self._first, setting.first)
        self._first_failed += setting.first_failed
        if setting.answers and case is None and setting.unnamed:
            self._unnamed.setdefault(scope, _Unnamed()).add(setting)
        most_first = setting.most_tests if case is not None else setting.most_first
        self._most_first[scope] = max(self._most_first.get(scope, 0), most_first)
        if missing := setting.coverage.cells - setting.coverage.answered:
            self._missing[scope] = self._missing.get(scope, 0) + missing
        self._shares |= setting.shares
        for name, (total, count) in setting.values.items():
            sums = self._values.setdefault(name, {}).setdefault(
                case or (*scope, *setting.labels), [0.0, 0]
            )
            sums[0] += total
            sums[1] += count

    def estimate(self, rate: Rate) -> Estimate:
        """A rate of the sample with its 95 % interval; what the answers do not say is None."""
        if self._unnamed:
            return self._estimate_unnamed(rate)
        tallies = self.cases.values()
        match rate:
            case Rate.FAILURE:
                return estimate_by_case(
                    ((one.failed, one.tests) for one in tallies), is_layered=self._is_layered
                )
            case Rate.FIRST:
                return estimate_by_case((one.first_failed, one.first) for one in tallies)
            case Rate.CASES:
                failed = sum(one.failed > 0 for one in tallies)
                return estimate_of(failed, len(tallies), Method.WILSON)

    @property
    def case_count(self) -> int | None:
        """The number of different cases; None if it is unknown, because answers do not name them."""
        if not self._unnamed:
            return len(self.cases)
        if self.cases or self._first is None:
            return None
        return sum(one.most_first for one in self._unnamed.values())

    def bounds(self) -> tuple[float, float] | None:
        """The lowest and highest `first_rate` that the missing cells leave possible.

        Each missing cell is taken to ask as many cases as the largest answer of its group; None if there is none.
        """
        first = self.estimate(Rate.FIRST)
        if first.rate is None or any(not self._most_first.get(scope) for scope in self._missing):
            return None
        missing = sum(count * self._most_first[scope] for scope, count in self._missing.items())
        return rate_bounds(first.failed, first.total, missing)

    def means(self) -> dict[str, ValueMean]:
        """The mean of each numeric value of the job kind, by name; of true and false the share that is true."""
        return {name: self._mean(name) for name in sorted(self._values)}

    def _mean(self, name: str) -> ValueMean:
        sums = [(total, int(count)) for total, count in self._values[name].values()]
        answers = sum(count for _, count in sums)
        if name in self._shares and (shares := clustered_rate([(int(n), of) for n, of in sums])):
            return ValueMean(shares.rate, shares.low, shares.high, answers)
        found = clustered_mean(sums)
        assert found is not None, "a value is kept with the answers that have it"
        return ValueMean(found.mean, found.low, found.high, answers)

    def _estimate_unnamed(self, rate: Rate) -> Estimate:
        """A rate if any answer does not name its cases: how often a case was asked is then unknown."""
        unnamed = self._unnamed.values()
        is_asked_once = all(one.answers == 1 for one in unnamed)
        match rate:
            case Rate.FAILURE:
                total = self.passed + self.failed
                is_known = not self.cases and not self._is_layered
                size = sum(one.most_tests for one in unnamed)
                return _estimate_at(self.failed, total, size if is_known else None, is_asked_once)
            case Rate.FIRST:
                if self._first is None:
                    return _UNKNOWN
                first = None if self.cases else sum(one.most_first for one in unnamed)
                return _estimate_at(self._first_failed, self._first, first, is_asked_once)
            case Rate.CASES:
                known = [one.cases_failed for one in unnamed if one.cases_failed is not None]
                is_known = len(known) == len(unnamed) and self._first is not None
                if self.cases or not is_asked_once or not is_known:
                    return _UNKNOWN
                return estimate_of(sum(known), self._first or 0, Method.WILSON)


_UNKNOWN = Estimate(None, 0, 0, None, None, None)


def _estimate_at(failed: int, total: int, size: int | None, is_asked_once: bool) -> Estimate:
    """A rate with Wilson's interval at `size` independent tests; without an interval if that is unknown."""
    if size is None or is_asked_once or not total:
        return estimate_of(failed, total, None if size is None else Method.WILSON)
    rate = failure_rate(failed, total)
    assert rate is not None
    low, high = wilson_of_rate(rate, size)
    return Estimate(rate, failed, total, low, high, Method.ONE_REPEAT)
