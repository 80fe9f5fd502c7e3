"""Quota of one key in one period: reserved before sending, settled after, never over-committed.

`used + reserved <= allotted` holds after every function here, as it does by CHECK in the store. What
answers cost beyond that is kept in `overrun`, and moves into `used` as soon as there is room.
"""

from dataclasses import dataclass, replace
from math import ceil, sqrt

_SURPRISE = 16
"""How many times what it cost at most an answer may cost after a first one; less, the more there were."""


UNTOLD = 2**62
"""Stands for the allotment until the service has told it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What answers of one class of jobs have cost: `tests` at most, over so many `answers`.

    `bound` is the most that any may come to, as far as its kind can tell from an answer.
    """

    tests: int
    answers: int = 1
    bound: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether there is a true bound: one that an answer went beyond is none."""
        return self.bound is not None and self.tests <= self.bound

    @property
    def most(self) -> int:
        """What is held for a job: its bound, or what answers cost with a margin that shrinks as they come."""
        if self.bound is not None and self.is_bounded:
            return self.bound
        return ceil(self.tests * (1 + _SURPRISE / sqrt(self.answers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaState:
    """Tests of one period: `reserved` is held for what is in flight."""

    allotted: int
    used: int = 0
    reserved: int = 0
    overrun: int = 0

    def __post_init__(self) -> None:
        assert min(self.allotted, self.used, self.reserved, self.overrun) >= 0, self
        assert self.used + self.reserved <= self.allotted, self

    @property
    def is_told(self) -> bool:
        """Whether it is known how much is allotted."""
        return self.allotted < UNTOLD

    @property
    def room(self) -> int:
        """Tests that can still be reserved."""
        return self.allotted - self.used - self.reserved


def reserve(state: QuotaState, tests: int) -> QuotaState:
    """Hold `tests`, at most `state.room`, for a job about to be sent."""
    assert 0 <= tests <= state.room, f"{tests} tests do not fit into {state}"
    return replace(state, reserved=state.reserved + tests)


def refund(state: QuotaState, held: int) -> QuotaState:
    """Release what was held for a job that surely was not sent."""
    return settle(state, held, 0)


def settle(state: QuotaState, held: int, tests: int) -> QuotaState:
    """Turn what was held for a job into the `tests` that its answer cost."""
    assert held >= 0
    assert tests >= 0
    return fit_to_allotment(
        allotted=state.allotted,
        used=state.used + state.overrun + tests,
        reserved=max(0, state.reserved - held),
    )


def fit_to_allotment(*, allotted: int, used: int, reserved: int) -> QuotaState:
    """The state where `used` of `allotted` tests are gone and `reserved` are held, whatever fits."""
    held = min(reserved, allotted)
    kept = min(used, allotted - held)
    return QuotaState(allotted=allotted, used=kept, reserved=held, overrun=used - kept)
