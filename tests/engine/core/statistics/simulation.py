"""Simulated answers, and how often the intervals over them hold the true rate.

The failure probability of a case is drawn from a beta distribution, so the results of one case are
correlated. An answer that fails leads to `VARIATIONS` tests in the next layer with the same
probability.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from math import comb, exp, lgamma
from random import Random

from engine.core.statistics import Counts, paired_difference, rate_interval, wilson

VARIATIONS = 3
RATES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.8)
RATE_PAIRS = ((0.05, 0.05), (0.2, 0.2), (0.5, 0.5), (0.3, 0.1), (0.3, 0.5), (0.9, 0.6))
SHARED = (0.0, 0.8)
"""How much two models fail on the same cases: the share of the gamma variables that are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How the cases are asked, and the correlation of two results of one case."""

    cases: int
    repeats: int
    correlation: float
    layers: int


@dataclass(slots=True)
class Coverage:
    """How many intervals were asked for, how many there were, and how many held the true value."""

    rounds: int = 0
    given: int = 0
    holding: int = 0
    width: float = 0.0
    by_rate: dict[tuple[float, ...], "Coverage"] = field(default_factory=dict)

    def add(self, interval: tuple[float, float] | None, true: float, *rates: float) -> None:
        if rates:
            self.by_rate.setdefault(rates, Coverage()).add(interval, true)
        self.rounds += 1
        if interval is None:
            return
        self.given += 1
        self.holding += interval[0] <= true <= interval[1]
        self.width += interval[1] - interval[0]

    def merge(self, other: "Coverage") -> None:
        self.rounds += other.rounds
        self.given += other.given
        self.holding += other.holding
        self.width += other.width

    @property
    def share(self) -> float:
        """The share that held; where there is no interval, every rate remains possible."""
        return (self.holding + self.rounds - self.given) / self.rounds


def designs(
    cases: tuple[int, ...],
    repeats: tuple[int, ...],
    correlations: tuple[float, ...],
    layers: tuple[int, ...],
) -> Iterator[Design]:
    for one in product(cases, repeats, correlations, layers):
        yield Design(cases=one[0], repeats=one[1], correlation=one[2], layers=one[3])


def cover_rate(design: Design, rounds: int, seed: int, *, plain: bool = False) -> Coverage:
    """How often the interval of one failure rate holds the true one; each of `RATES` in turn.

    `plain` takes Wilson's interval as if all tests were independent.
    """
    chance, coverage = Random(f"{seed} {design}"), Coverage()
    for index in range(rounds):
        rate = RATES[index % len(RATES)]
        cases = draw_cases(chance, design, rate)
        if plain:
            interval = wilson(sum(f for f, _ in cases), sum(n for _, n in cases))
        else:
            found = rate_interval(cases, layered=design.layers > 0)
            interval = None if found is None else (found.low, found.high)
        coverage.add(interval, true_rate(rate, design.correlation, design.layers), rate)
    return coverage


def cover_difference(
    design: Design, rounds: int, seed: int, pairs: Sequence[tuple[float, float]] = RATE_PAIRS
) -> Coverage:
    """How often the interval of a paired difference holds the true one; all `pairs` in turn."""
    chance, coverage = Random(f"{seed} {design}"), Coverage()
    for index in range(rounds):
        rates = pairs[index % len(pairs)]
        shared = SHARED[index // len(pairs) % len(SHARED)]
        probabilities = [
            draw_probabilities(chance, rates, design.correlation, shared)
            for _ in range(design.cases)
        ]
        differences = [
            case_rate(chance, design, a) - case_rate(chance, design, b) for a, b in probabilities
        ]
        found = paired_difference(differences, design.repeats)
        assert found is not None
        true = [mean_case_rate(r, design.correlation, design.repeats, design.layers) for r in rates]
        coverage.add((found.low, found.high), true[0] - true[1], *rates)
    return coverage


def draw_cases(chance: Random, design: Design, rate: float) -> list[Counts]:
    a, b = beta_parameters(rate, design.correlation)
    return [answer(chance, design, chance.betavariate(a, b)) for _ in range(design.cases)]


def draw_probabilities(
    chance: Random, rates: tuple[float, float], correlation: float, shared: float
) -> tuple[float, float]:
    """The failure probabilities of two models on one case, each beta, from gamma variables shared."""
    (failing_a, passing_a), (failing_b, passing_b) = (
        beta_parameters(rate, correlation) for rate in rates
    )
    failing = _gammas(chance, failing_a, failing_b, shared)
    passing = _gammas(chance, passing_a, passing_b, shared)
    # Both variables of a model may be too small for a number.
    a, b = (f / (f + p) if f + p else 0.0 for f, p in zip(failing, passing, strict=True))
    return a, b


def _gammas(chance: Random, first: float, second: float, shared: float) -> tuple[float, float]:
    common = shared * min(first, second)
    part = chance.gammavariate(common, 1) if common else 0.0
    own = (chance.gammavariate(one - common, 1) for one in (first, second))
    a, b = (part + one for one in own)
    return a, b


def answer(chance: Random, design: Design, probability: float) -> Counts:
    """The (failed, total) of all repeats and layers of one case."""
    failed = total = 0
    tests, draw = design.repeats, chance.random
    for _ in range(design.layers + 1):
        fails = sum(draw() < probability for _ in range(tests))
        failed, total, tests = failed + fails, total + tests, VARIATIONS * fails
    return failed, total


def case_rate(chance: Random, design: Design, probability: float) -> float:
    failed, total = answer(chance, design, probability)
    return failed / total


def beta_parameters(rate: float, correlation: float) -> tuple[float, float]:
    scale = (1 - correlation) / correlation
    return rate * scale, (1 - rate) * scale


@cache
def true_rate(rate: float, correlation: float, layers: int) -> float:
    """The expected failures over the expected tests: layer l has VARIATIONS^l · p^l of them."""
    powers = [moment(rate, correlation, power, 0) for power in range(layers + 2)]
    spread = [float(VARIATIONS) ** layer for layer in range(layers + 1)]
    failed = sum(many * powers[layer + 1] for layer, many in enumerate(spread))
    tests = sum(many * powers[layer] for layer, many in enumerate(spread))
    return failed / tests


@cache
def mean_case_rate(rate: float, correlation: float, repeats: int, layers: int) -> float:
    """The expected failure rate of one case: the sum over all outcomes, each weighed by its chance."""
    return sum(
        ways * (failed / (failed + passed)) * moment(rate, correlation, failed, passed)
        for (failed, passed), ways in outcomes(repeats, layers).items()
    )


@cache
def outcomes(repeats: int, layers: int) -> Counter[tuple[int, int]]:
    """In how many ways the tests of a case can give each (failed, passed)."""
    reached: Counter[tuple[int, int, int]] = Counter({(0, 0, repeats): 1})
    for _ in range(layers + 1):
        following: Counter[tuple[int, int, int]] = Counter()
        for (failed, passed, tests), ways in reached.items():
            for fails in range(tests + 1):
                after = (failed + fails, passed + tests - fails, VARIATIONS * fails)
                following[after] += ways * comb(tests, fails)
        reached = following
    counted: Counter[tuple[int, int]] = Counter()
    for (failed, passed, _), ways in reached.items():
        counted[failed, passed] += ways
    return counted


def moment(rate: float, correlation: float, failed: int, passed: int) -> float:
    """The expectation of p^failed · (1 - p)^passed for a beta variable p."""
    a, b = beta_parameters(rate, correlation)
    return exp(
        lgamma(a + failed)
        + lgamma(b + passed)
        - lgamma(a + b + failed + passed)
        + lgamma(a + b)
        - lgamma(a)
        - lgamma(b)
    )
