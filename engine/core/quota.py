"""The quota of one key in one period: reserved before sending, settled afterwards, never exceeded.

Every function keeps `used + reserved <= allotted`, which a CHECK in the store repeats. What answers
cost beyond that is kept in `overrun` and moves into `used` as soon as there is room.
"""

from dataclasses import dataclass, replace
from math import ceil, sqrt

_SURPRISE = 16
"""The margin on the largest cost after one answer, as a multiple; it shrinks with more answers."""


UNREPORTED = 2**62
"""The allotment until the service has reported it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one class of jobs: at most `tests` in `answers` answers so far.

    `bound` is the most that any may cost, if the kind can read that from an answer.
    """

    tests: int
    answers: int = 1
    bound: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound that no answer has exceeded."""
        return self.bound is not None and self.tests <= self.bound

    @property
    def most(self) -> int:
        """The tests to reserve for a job: its bound, or the largest cost with a margin that shrinks."""
        if self.bound is not None and self.is_bounded:
            return self.bound
        return ceil(self.tests * (1 + _SURPRISE / sqrt(self.answers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaState:
    """Tests of one period; `reserved` are for jobs in flight."""

    allotted: int
    used: int = 0
    reserved: int = 0
    overrun: int = 0

    def __post_init__(self) -> None:
        assert min(self.allotted, self.used, self.reserved, self.overrun) >= 0, self
        assert self.used + self.reserved <= self.allotted, self

    @property
    def is_reported(self) -> bool:
        """Whether the service has reported the allotment."""
        return self.allotted < UNREPORTED

    @property
    def room(self) -> int:
        """The tests that can still be reserved."""
        return self.allotted - self.used - self.reserved


def reserve(state: QuotaState, tests: int) -> QuotaState:
    """Reserve `tests`, at most `state.room`, for a job about to be sent; returns the new state."""
    assert 0 <= tests <= state.room, f"{tests} tests do not fit into {state}"
    return replace(state, reserved=state.reserved + tests)


def refund(state: QuotaState, held: int) -> QuotaState:
    """Release the reservation of `held` tests of a job that surely was not sent."""
    return settle(state, held, 0)


def settle(state: QuotaState, held: int, tests: int) -> QuotaState:
    """Replace the reservation of a job, `held` tests, by the `tests` that its answer cost.

    If they exceed the allotment, the rest is overrun.
    """
    assert held >= 0
    assert tests >= 0
    return fit_to_allotment(
        allotted=state.allotted,
        used=state.used + state.overrun + tests,
        reserved=max(0, state.reserved - held),
    )


def fit_to_allotment(*, allotted: int, used: int, reserved: int) -> QuotaState:
    """The state with these numbers, cut to the allotment.

    `reserved` keeps its place first, then `used`; what of `used` does not fit is overrun.
    """
    held = min(reserved, allotted)
    kept = min(used, allotted - held)
    return QuotaState(allotted=allotted, used=kept, reserved=held, overrun=used - kept)
