"""The tests of one cell: how many failed at its threshold, of how many cases."""

from dataclasses import dataclass
from typing import NamedTuple

from engine.core.estimates import Estimate, estimate_by_case, estimate_of
from engine.core.listed_tests import (
    ListedTest,
    Listing,
    Round,
    count_listed_cases,
    is_of_layers,
    read_round,
)
from engine.core.statistics import Method


class CaseNumbers(NamedTuple):
    """The cases of one answer: each is None if the answer does not say."""

    cases: int | None
    """Cases whose first answer was judged."""
    first_failed: int | None
    """Of these, the cases whose first answer failed."""
    cases_failed: int | None
    """Cases with a failure in any layer."""


@dataclass(slots=True)
class CaseCounts:
    """The tests of one case."""

    tests: int = 0
    failed: int = 0
    first: int = 0
    """First answers, those of layer 0."""
    first_failed: int = 0
    lowest: float | None = None
    """The lowest score; None without scores."""

    def add(self, *, is_first: bool, has_failed: bool, score: float | None = None) -> None:
        """Add a test, in place."""
        self.tests += 1
        self.failed += has_failed
        self.first += is_first
        self.first_failed += is_first and has_failed
        if score is not None and (self.lowest is None or score < self.lowest):
            self.lowest = score


@dataclass(slots=True, kw_only=True)
class CellTests:
    """The tests of one cell: what its answer says at the cell's threshold.

    `failed` and `total` are the cell's numbers; with `counts_unanswered`, they include questions without an
    answer as failed. `listing` is the answer's, encoded, and `unanswered` the number of such questions.
    """

    failed: int
    total: int
    threshold: float | None
    listing: str | None
    unanswered: int = 0
    counts_unanswered: bool = False

    @property
    def is_one_each(self) -> bool:
        """Whether each test is known to be the one answer to a case of its own."""
        if self.listing is None:
            # Kinds without a listing have no layers.
            return True
        return not self._counted and count_listed_cases(self.listing) == self.total

    @property
    def is_layered(self) -> bool:
        """Whether cases that failed were asked again, in variations, and others were not."""
        return self.listing is not None and is_of_layers(self.listing)

    @property
    def _counted(self) -> int:
        """The questions without an answer that count as failed."""
        return self.unanswered if self.counts_unanswered else 0

    def estimate(self) -> Estimate:
        """The failure rate of the cell: `failed` of `total`.

        There is no interval if its tests belong to cases that the answer does not name, or if with layers too
        few cases failed, or passed.
        """
        if self.is_one_each and not self.is_layered:
            return estimate_of(self.failed, self.total, Method.WILSON)
        if (by_case := self.by_case()) is not None:
            return estimate_by_case(
                ((one.failed, one.tests) for one in by_case.values()),
                is_layered=self.is_layered,
            )
        return estimate_of(self.failed, self.total, None)

    def numbers(self) -> CaseNumbers:
        """How many cases were asked and have failed."""
        if self.is_one_each:
            if self.listing is None and self.total > 1:
                return CaseNumbers(None, None, None)
            return CaseNumbers(self.total, self.failed, self.failed)
        if (by_case := self.by_case()) is not None:
            return CaseNumbers(
                cases=sum(one.first > 0 for one in by_case.values()),
                first_failed=sum(one.first_failed > 0 for one in by_case.values()),
                cases_failed=sum(one.failed > 0 for one in by_case.values()),
            )
        return self._unnamed_numbers(self._decode())

    def _unnamed_numbers(self, listing: Listing) -> CaseNumbers:
        """The numbers of an answer that names no cases or lists only failed tests."""
        unanswered = sum(test.score is None for test in listing.tests)
        is_partly_listed = self.counts_unanswered and unanswered != self.unanswered
        if listing.cases is None or self.threshold is None or is_partly_listed:
            return CaseNumbers(None, None, None)
        failed = [test for test in listing.tests if self._has_failed(test)]
        first = sum(test.layer == 0 for test in failed)
        cases = listing.cases
        if self.counts_unanswered:
            cases += sum(test.layer == 0 and test.score is None for test in listing.tests)
        # Whose variations failed is unknown without names.
        return CaseNumbers(cases, first, first if first == len(failed) else None)

    def round(self) -> Round | None:
        """The cases and their scores, if each has one answer, of layer 0.

        None otherwise, and if the answer does not name and list them all; then `by_case` may know more.
        """
        if self.listing is None or self.threshold is None or self._counted:
            return None
        found = read_round(self.listing)
        return None if found is None or len(found.scores) != self.total else found

    def by_case(self) -> dict[str, CaseCounts] | None:
        """The tests of each case by its name; None if the answer does not name and list them all."""
        if self.listing is None or self.threshold is None:
            return None
        tests = self._decode().tests
        if not self.counts_unanswered:
            tests = tuple(test for test in tests if test.score is not None)
        if len(tests) != self.total or any(None in (test.case, test.layer) for test in tests):
            return None
        found: dict[str, CaseCounts] = {}
        for test in tests:
            assert test.case is not None
            found.setdefault(test.case, CaseCounts()).add(
                is_first=test.layer == 0, has_failed=self._has_failed(test), score=test.score
            )
        return found

    def _decode(self) -> Listing:
        return Listing() if self.listing is None else Listing.decode(self.listing)

    def _has_failed(self, test: ListedTest) -> bool:
        if test.score is None:
            return self.counts_unanswered
        assert self.threshold is not None
        return test.score < self.threshold
