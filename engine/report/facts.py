"""The numbers at the head of a report: requests, tests, quota, time and cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.core.listing import quantity
from engine.core.reports import ReportData
from engine.report.money import amounts
from engine.report.times import duration, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A number at the head of the page: what it is, its value, and what qualifies it."""

    name: str
    value: str
    detail: str = ""


def facts_of(data: ReportData) -> Iterator[Fact]:
    """The facts of a run that are known, in their order."""
    status, spent = data.status, data.spent
    coverage = status.coverage
    yield Fact(
        name="cells", value=f"{coverage.answered:,}", detail=f"of {coverage.cells:,} answered"
    )
    yield Fact(
        name="requests",
        value=f"{spent.requests:,}",
        detail=quantity(spent.retries, "retry", "retries"),
    )
    tests = status.tests_passed + status.tests_failed
    at = "" if status.threshold is None else f" at threshold {status.threshold:g}"
    yield Fact(name="tests", value=f"{tests:,}", detail=f"{status.tests_failed:,} failed{at}")
    is_named = len(status.quotas) > 1
    for quota in status.quotas:
        left = max(0, quota.allotted - quota.used - quota.reserved)
        name = f" {quota.name}" if is_named else ""
        period = "" if quota.period == "run" else f", {quota.period}"
        yield Fact(
            name="quota left",
            value=f"{left:,}",
            detail=f"of {quota.allotted:,}{name}{period}",
        )
    if spent.began_at is not None and spent.ended_at is not None:
        yield Fact(
            name="time",
            value=duration(spent.ended_at - spent.began_at),
            detail=f"until {moment(spent.ended_at)}",
        )
    yield from _cost_facts(data)
    if status.judge:
        yield Fact(name="judge", value=status.judge)


def _cost_facts(data: ReportData) -> Iterator[Fact]:
    costs: dict[str, float] = {}
    for one in data.status.spending:
        for currency, amount in (one.cost or {}).items():
            costs[currency] = costs.get(currency, 0.0) + amount
    read = sum(one.input_tokens or 0 for one in data.status.spending)
    written = sum(one.output_tokens or 0 for one in data.status.spending)
    tokens = f"{read:,} tokens in, {written:,} out" if read or written else ""
    if costs:
        yield Fact(name="cost", value=amounts(costs), detail=tokens)
    elif tokens:
        yield Fact(name="tokens", value=f"{read + written:,}", detail=tokens)


def label_words(data: ReportData, labels: Mapping[str, Any]) -> list[str]:
    """The labels of a finding in words: numbers with the name of their axis, and no axis that has one value only."""
    axes = data.findings.axes
    return [
        f"{name} {label}" if isinstance(label, int | float) else str(label)
        for name, label in labels.items()
        if label is not None and len(axes.get(name, ())) != 1
    ]
