"""Quantiles without scipy."""

from math import isclose, pi, sqrt, tan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.statistics import Z_95, normal_quantile, t_quantile


def test_the_normal_quantile_is_the_known_one() -> None:
    assert normal_quantile(0.975) == pytest.approx(Z_95, abs=1e-14)
    assert normal_quantile(0.5) == 0


@given(p=st.floats(0.001, 0.999))
def test_one_and_two_degrees_of_freedom_have_closed_forms(p: float) -> None:
    cauchy = tan(pi * (p - 0.5))
    two = (2 * p - 1) * sqrt(2 / (4 * p * (1 - p)))

    assert t_quantile(p, 1) == pytest.approx(cauchy, rel=1e-8, abs=1e-9)
    assert t_quantile(p, 2) == pytest.approx(two, rel=1e-8, abs=1e-9)


@given(p=st.floats(0.5, 0.9999), freedom=st.integers(1, 5000))
def test_the_quantile_falls_towards_the_normal_one(p: float, freedom: int) -> None:
    here, next_one = t_quantile(p, freedom), t_quantile(p, freedom + 1)

    assert here > next_one or isclose(here, next_one, rel_tol=1e-9, abs_tol=1e-9)
    assert here >= normal_quantile(p) - 1e-12


def test_the_expansion_begins_where_it_equals_the_continued_fraction() -> None:
    below, above = t_quantile(0.975, 999.9999999), t_quantile(0.975, 1000)

    assert below == pytest.approx(above, abs=1e-11)
    assert t_quantile(0.9999, 999.9999999) == pytest.approx(t_quantile(0.9999, 1000), abs=1e-10)
