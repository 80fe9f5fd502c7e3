import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.statistics import failure_rate, wilson


@pytest.mark.parametrize(
    ("failed", "total", "low", "high"),
    [
        # (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) worked out with 30 digits.
        (0, 10, 0.0, 0.2775327998628892),
        (10, 10, 0.7224672001371108, 1.0),
        (5, 10, 0.23659309051256376, 0.7634069094874362),
        (1, 1, 0.20654931437723745, 1.0),
    ],
)
def test_the_interval_is_the_published_formula(
    failed: int, total: int, low: float, high: float
) -> None:
    assert wilson(failed, total) == pytest.approx((low, high), abs=1e-12)


def test_nothing_measured_has_no_rate_and_no_interval() -> None:
    assert wilson(0, 0) is None
    assert failure_rate(0, 0) is None


@given(total=st.integers(1, 10**9), share=st.floats(0, 1))
def test_the_interval_lies_in_0_to_1_and_holds_the_rate(total: int, share: float) -> None:
    failed = round(total * share)

    interval = wilson(failed, total)
    rate = failure_rate(failed, total)

    assert interval is not None
    assert rate is not None
    assert 0 <= interval[0] <= rate <= interval[1] <= 1


@given(total=st.integers(1, 10**9))
def test_the_edges_are_exact(total: int) -> None:
    none_failed, all_failed = wilson(0, total), wilson(total, total)

    assert none_failed is not None
    assert all_failed is not None
    assert none_failed[0] == 0.0
    assert all_failed[1] == 1.0
