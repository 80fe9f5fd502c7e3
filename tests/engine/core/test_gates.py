"""What a gate decides about a rate and its interval."""

from math import inf, nan
from typing import Any

import pytest

from engine.core.errors import UsageError
from engine.core.gates import Certainty, Decision, GateRules, decide, decide_cell, is_gated
from tests.engine.report.samples import answered, unanswered

PASSED, FAILED, UNDECIDED = Decision.PASSED, Decision.FAILED, Decision.UNDECIDED


@pytest.mark.parametrize(
    ("certainty", "rate", "bounds", "decision"),
    [
        (Certainty.RATE, 0.2, None, PASSED),
        (Certainty.RATE, 0.2000001, (0.0, 0.5), FAILED),
        (Certainty.SURELY_ABOVE, 0.9, (0.2, 1.0), PASSED),
        (Certainty.SURELY_ABOVE, 0.9, (0.21, 1.0), FAILED),
        (Certainty.SURELY_BELOW, 0.0, (0.0, 0.19), PASSED),
        (Certainty.SURELY_BELOW, 0.0, (0.0, 0.2), FAILED),
        (Certainty.SURELY_BELOW, 0.0, (0.0, 0.21), FAILED),
    ],
)
def test_a_rate_is_held_against_a_limit_of_20_percent(
    certainty: Certainty, rate: float, bounds: tuple[float, float] | None, decision: Decision
) -> None:
    assert decide(rate, bounds, 0.2, certainty) is decision


@pytest.mark.parametrize("certainty", list(Certainty))
def test_nothing_measured_is_never_a_pass(certainty: Certainty) -> None:
    assert decide(None, None, 1.0, certainty) is UNDECIDED


@pytest.mark.parametrize("certainty", [Certainty.SURELY_ABOVE, Certainty.SURELY_BELOW])
def test_without_an_interval_nothing_is_sure(certainty: Certainty) -> None:
    assert decide(0.0, None, 0.2, certainty) is UNDECIDED


@pytest.mark.parametrize("share", [nan, inf, -0.01, 1.01])
@pytest.mark.parametrize("name", ["fail_above", "require_coverage", "margin", "each_case"])
def test_a_limit_that_is_no_share_is_refused(name: str, share: float) -> None:
    limits: dict[str, Any] = {name: share}

    with pytest.raises(UsageError, match=f"{name}: .* is not a share from 0 to 1"):
        GateRules(**limits)


def test_a_cell_is_decided_by_its_own_rate() -> None:
    rules = GateRules(fail_above=0.2)

    assert decide_cell(answered(2, 10), rules) is PASSED
    assert decide_cell(answered(3, 10), rules) is FAILED
    assert decide_cell(answered(0, 0), rules) is UNDECIDED
    assert decide_cell(unanswered("failed"), rules) is None


def test_without_a_limit_for_rates_a_cell_passes_once_it_is_measured() -> None:
    rules = GateRules(each_case=0.8)

    assert decide_cell(answered(10, 10), rules) is PASSED
    assert decide_cell(answered(0, 0), rules) is UNDECIDED


def test_cells_of_other_thresholds_and_of_earlier_sweeps_are_not_gated() -> None:
    rules = GateRules(fail_above=0.2, thresholds=(0.5,))

    assert is_gated(answered(0, 1, threshold=0.5), rules, "threshold")
    assert not is_gated(answered(0, 1, threshold=0.3), rules, "threshold")
    assert not is_gated(answered(0, 1, asked=False, threshold=0.5), rules, "threshold")
