"""Summaries of a run: the rates of all cells that share values on some axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.estimates import Estimate, Rate
from engine.core.rows import Coverage, digest_column
from engine.core.samples import Sample, Setting, ValueMean
from engine.results.observations import Observations


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The cells that share values on some axes, at one threshold: how many are answered, and their rates.

    Rates are shares from 0 to 1; what the answers do not say is None.

    Example:
        >>> [summary] = run.analysis().summaries()
        >>> summary.coverage.answered, summary.values["value"].mean
        (3, 1.0)
    """

    labels: Mapping[str, Any]
    """The shared values by field; two texts with the same label also have a digest."""
    digests: Mapping[str, str | None]
    """The digests of shared prompts, documents and cases by field, as in rows; None without a text."""
    threshold: float | None
    """None if the evaluation has none."""
    coverage: Coverage
    passed: int
    failed: int
    cases: int | None
    """Different cases; None if the answers do not name them."""
    first_rate: Estimate
    cases_failed: Estimate
    failure_rate: Estimate
    lowest_rate: float | None
    """The first rate if no case of a missing cell failed."""
    highest_rate: float | None
    """The first rate if all cases of missing cells failed."""
    values: Mapping[str, ValueMean]
    """The means of numeric values of the job kind, by name."""

    def rate(self, which: Rate) -> Estimate:
        """One of its three rates."""
        match which:
            case Rate.FIRST:
                return self.first_rate
            case Rate.CASES:
                return self.cases_failed
            case Rate.FAILURE:
                return self.failure_rate


def summarize(seen: Observations, by: Sequence[str] = ()) -> list[Summary]:
    """One summary for each combination of values on the axes `by`, and for each threshold.

    `by` are fields of axes but the threshold's. The summaries are in the order of the sweep, and the thresholds
    of a combination ascending.
    """
    at = [seen.axes.index(name) for name in by]
    groups: dict[tuple[Any, ...], dict[float | None, list[Setting]]] = {}
    for setting in seen.settings:
        key = tuple((setting.labels[one], setting.digests[one]) for one in at)
        groups.setdefault(key, {}).setdefault(setting.threshold, []).append(setting)
    ambiguous = _find_ambiguous(groups, len(by))
    return [
        _summary(
            _name(key, by, ambiguous),
            {name: digest for name, (_, digest) in zip(by, key, strict=True)},
            threshold,
            seen.sample(settings, by),
        )
        for key, by_threshold in groups.items()
        for threshold, settings in sorted(by_threshold.items(), key=lambda one: one[0] or 0.0)
    ]


def _find_ambiguous(keys: Mapping[tuple[Any, ...], object], axes: int) -> set[tuple[int, Any]]:
    """The labels that stand for several texts, by the number of their axis."""
    seen: dict[tuple[int, Any], set[Any]] = {}
    for key in keys:
        for number in range(axes):
            label, digest = key[number]
            seen.setdefault((number, label), set()).add(digest)
    return {label for label, digests in seen.items() if len(digests) > 1}


def _name(
    key: tuple[Any, ...], by: Sequence[str], ambiguous: set[tuple[int, Any]]
) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for number, (name, (label, digest)) in enumerate(zip(by, key, strict=True)):
        labels[name] = label
        if (number, label) in ambiguous:
            labels[digest_column(name)] = digest
    return labels


def _summary(
    labels: Mapping[str, Any],
    digests: Mapping[str, str | None],
    threshold: float | None,
    sample: Sample,
) -> Summary:
    lowest, highest = sample.bounds() or (None, None)
    return Summary(
        labels=labels,
        digests=digests,
        threshold=threshold,
        coverage=sample.coverage,
        passed=sample.passed,
        failed=sample.failed,
        cases=sample.case_count,
        first_rate=sample.estimate(Rate.FIRST),
        cases_failed=sample.estimate(Rate.CASES),
        failure_rate=sample.estimate(Rate.FAILURE),
        lowest_rate=lowest,
        highest_rate=highest,
        values=sample.means(),
    )
