"""Each method gives what scipy and statsmodels give: reference_values.json says how each value was made."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from engine.core.statistics import (
    Counts,
    VarianceComponents,
    any_failure_in_k,
    band_half_width,
    cases_needed,
    clustered_rate,
    compare_pairs,
    detectable_difference,
    difference_of_intervals,
    failure_rate,
    holm,
    paired_difference,
    rate_bounds,
    repeats_needed,
    sign_flip_p,
    t_quantile,
    variance_components,
    wilson,
)

REFERENCES: dict[str, Any] = json.loads(
    Path(__file__).with_name("reference_values.json").read_text()
)["cases"]


def counts(cases: Sequence[dict[str, int]]) -> list[Counts]:
    return [(case["failed"], case["total"]) for case in cases]


def clustered(cases: Sequence[Counts]) -> list[float]:
    found = clustered_rate(cases)
    assert found is not None
    return [found.low, found.high]


def clustered_in_full(inputs: Any) -> dict[str, float]:
    cases = counts(inputs["cases"])
    found = clustered_rate(cases)
    assert found is not None
    tests = sum(total for _, total in cases)
    return {
        "rate": found.rate,
        "se_cluster": (found.deff * found.rate * (1 - found.rate) / tests) ** 0.5,
        "deff": found.deff,
        "n_eff": found.effective_size,
        "low": found.low,
        "high": found.high,
    }


def mcnemar(only_a: int, only_b: int) -> float:
    return sign_flip_p([1] * only_a + [-1] * only_b)


def bonett_price(only_a: int, only_b: int, n: int) -> list[float]:
    differences = [1.0] * only_a + [-1.0] * only_b + [0.0] * (n - only_a - only_b)
    return interval(differences, 1)


def interval(differences: Sequence[float], repeats: int) -> list[float]:
    found = paired_difference(differences, repeats)
    assert found is not None
    return [found.difference, found.low, found.high]


def components(inputs: Any) -> list[float]:
    found = variance_components(Counter(counts(inputs["cases"])))
    assert found is not None
    return [found.between, found.within]


def repeats(inputs: Any) -> list[float | None]:
    known = VarianceComponents(between=inputs["between"], within=inputs["within"])
    return [repeats_needed(known, inputs["cases"], width) for width in inputs["half_widths"]]


def cases(inputs: Any) -> float | None:
    # Of the differences by case: that between cases, and that of one answer on either side.
    variance = inputs["omega2"] + 2 * inputs["within"] / inputs["repeats"]
    return cases_needed(inputs["delta"], variance)


def newcombe(*sides: Counts) -> tuple[float, float]:
    a, b = ((failed / total, *(wilson(failed, total) or ())) for failed, total in sides)
    return difference_of_intervals(a, b)


METHODS: dict[str, Callable[[Any], Any]] = {
    "wilson": lambda inputs: [list(wilson(*case) or ()) for case in counts(inputs)],
    "clustered_rate": clustered_in_full,
    "clustered_none_failed": lambda inputs: clustered([(0, inputs["repeats"])] * inputs["cases"]),
    "clustered_few": lambda inputs: clustered(counts(inputs["cases"])),
    "t_quantile": lambda inputs: [t_quantile(inputs["p"], df) for df in inputs["df"]],
    "mcnemar_exact": lambda inputs: [mcnemar(**case) for case in inputs],
    "bonett_price": lambda inputs: bonett_price(**inputs),
    "signflip": lambda inputs: sign_flip_p(inputs["differences_of_failures_per_case"]),
    "paired_cases_interval": lambda inputs: interval(inputs["differences_of_rates_per_case"], 3),
    "holm": lambda inputs: holm(inputs["p"]),
    "variance_components": components,
    "repeats_needed": repeats,
    "detectable": lambda inputs: [detectable_difference(inputs["sd"], n) for n in inputs["n"]],
    "cases_needed": cases,
    "bounds": lambda inputs: rate_bounds(inputs["failed"], inputs["answered"], inputs["missing"]),
    "band": lambda inputs: [band_half_width(count) for count in inputs["cases"]],
    "any_failure_in_k": lambda inputs: [
        any_failure_in_k(case["f"], case["n"], case["k"]) for case in inputs
    ],
    "unpaired_difference": lambda inputs: newcombe(inputs["a"], inputs["b"]),
    # Where nothing was measured the vendor says 0; here there is no rate.
    "vendor_rate": lambda inputs: [
        failure_rate(case["failed"], case["passed"] + case["failed"]) or 0.0 for case in inputs
    ],
}


def test_every_reference_value_is_compared() -> None:
    assert set(METHODS) == set(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_method_gives_the_reference_value(name: str) -> None:
    reference = REFERENCES[name]

    found, expected = METHODS[name](reference["inputs"]), reference["expected"]

    assert flat(found) == pytest.approx(flat(expected), abs=reference["tolerance"])


def flat(values: Any) -> list[Any]:
    """The values in a list of lists, or in a dictionary by key."""
    if isinstance(values, dict):
        return [value for _, value in sorted(values.items())]
    if isinstance(values, list | tuple):
        return [one for value in values for one in flat(value)]
    return [values]


def test_a_comparison_of_pairs_has_the_p_and_the_interval_of_its_differences() -> None:
    failures = REFERENCES["signflip"]["inputs"]["differences_of_failures_per_case"]
    pairs = [((max(0, one), 3), (max(0, -one), 3)) for one in failures]

    found = compare_pairs(pairs)

    assert found is not None
    assert found.p == pytest.approx(REFERENCES["signflip"]["expected"])
    assert [
        found.interval.difference,
        found.interval.low,
        found.interval.high,
    ] == pytest.approx(REFERENCES["paired_cases_interval"]["expected"])
    assert sign_flip_p([Fraction(one, 3) for one in failures]) == found.p
