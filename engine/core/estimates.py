"""Rates of failure with their intervals, and how these were made."""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from engine.core.statistics import Method, failure_rate, rate_interval, wilson


class Rate(StrEnum):
    """What share has failed.

    Example:
        >>> [summary] = run.analysis().summaries()
        >>> summary.rate(Rate.FIRST) == summary.first_rate
        True
    """

    FIRST = "first_rate"
    """Of the cases asked, those whose first answer failed, before any variations."""
    CASES = "cases_failed"
    """Of the cases asked, those with a failure in any answer."""
    FAILURE = "failure_rate"
    """Of all tests, those that failed: the vendor's rate."""


class Estimate(NamedTuple):
    """A rate with its interval; what is not known is None.

    Example:
        >>> [summary] = run.analysis().summaries()
        >>> rate = summary.failure_rate
        >>> rate.failed, rate.total, rate.low
        (0, 0, None)
    """

    rate: float | None
    """The share that failed, from 0 to 1."""
    failed: int
    total: int
    """What `failed` is a part of."""
    low: float | None
    high: float | None
    interval: Method | None
    """How `low` and `high` were made."""


@lru_cache(4_096)
def estimate_of(failed: int, total: int, interval: Method | None) -> Estimate:
    """The share of `failed` in `total`, with Wilson's interval at `total` unless `interval` is None."""
    bounds = None if interval is None else wilson(failed, total)
    low, high = bounds or (None, None)
    made = None if bounds is None else interval
    return Estimate(failure_rate(failed, total), failed, total, low, high, made)


def estimate_by_case(cases: Iterable[tuple[int, int]], *, is_layered: bool = False) -> Estimate:
    """The share that failed of tests given by case, as (failed, tests) of each.

    `is_layered` says that cases that failed were asked again in variations. Fewer than two cases say nothing about
    others: then there is no interval.
    """
    counts = [(failed, tests) for failed, tests in cases if tests]
    failed, total = sum(one for one, _ in counts), sum(tests for _, tests in counts)
    found = rate_interval(counts, layered=is_layered)
    if found is None:
        return estimate_of(failed, total, None)
    return Estimate(found.rate, failed, total, found.low, found.high, found.method)
