"""The tokens of calls and their cost, as providers report it or by the user's prices."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

Number = TypeVar("Number", int, float)

USD = "USD"
"""The currency in which providers report the cost of a call."""
_PER_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What a provider reported of a call: tokens, and the cost in US dollars; None if it did not."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens and cost of one request, with its role, endpoint and model, as the provider reports them.

    None is what it does not report. `cost` is in US dollars.
    """

    role: str
    endpoint: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of a million tokens of input and of output, as a sweep file states it, in `currency`."""

    input: float
    output: float
    currency: str = USD

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """The cost of so many tokens, in the price's currency; not rounded."""
        return (self.input * input_tokens + self.output * output_tokens) / _PER_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotal:
    """The sums over calls of one role to one model at one endpoint.

    The provider reported the cost of `reported` calls, together `reported_cost`. Of the others, `priced`
    calls reported their tokens, together `priced_input_tokens` and `priced_output_tokens`.
    """

    role: str
    endpoint: str
    model: str
    calls: int
    counted: int
    """Those of `calls` that reported tokens."""
    input_tokens: int
    output_tokens: int
    reported: int
    reported_cost: float
    priced: int
    priced_input_tokens: int
    priced_output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Tokens and cost of a run's calls, for one role and model at one endpoint; None if unknown."""

    role: str
    endpoint: str
    model: str
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost: Mapping[str, float] | None
    """By currency: what the provider reported, and the sweep's prices for all other calls."""
    calls_without_cost: int
    """Those of `calls` that are not in `cost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSize:
    """The calls of a job to one model in one role, with an estimate of their most tokens in all.

    The tokens are None if the job's labels do not determine them.
    """

    role: str
    endpoint: str
    model: str
    calls: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """The possible cost of a sweep's calls, for one role and model."""

    role: str
    model: str
    calls: int
    cost: Mapping[str, float] | None
    """By currency; None if neither prices with sizes nor earlier calls determine it."""
    learnt: bool
    """Whether this is an estimate from earlier calls, not the most that the calls may cost."""


PriceOf: TypeAlias = Callable[[str, str, str], Price | None]
"""Returns the price for a role, endpoint and model; None if the user has set none."""


def spendings(totals: Iterable[UsageTotal], price_of: PriceOf) -> tuple[Spending, ...]:
    """The tokens and costs of calls, by role and model, in the order of the totals."""
    return tuple(_spending(one, price_of(one.role, one.endpoint, one.model)) for one in totals)


def _spending(total: UsageTotal, price: Price | None) -> Spending:
    cost: dict[str, float] = {}
    if total.reported:
        cost[USD] = total.reported_cost
    if price is not None and total.priced:
        priced = price.of(total.priced_input_tokens, total.priced_output_tokens)
        cost[price.currency] = cost.get(price.currency, 0.0) + priced
    with_cost = total.reported + (total.priced if price is not None else 0)
    return Spending(
        role=total.role,
        endpoint=total.endpoint,
        model=total.model,
        calls=total.calls,
        input_tokens=total.input_tokens if total.counted else None,
        output_tokens=total.output_tokens if total.counted else None,
        cost=cost or None,
        calls_without_cost=total.calls - with_cost,
    )


def estimates(sizes: Iterable[CallSize], earlier: Iterable[UsageTotal]) -> tuple[CostEstimate, ...]:
    """Estimate the cost of calls of these sizes, by role and model, from `earlier` calls if there are any.

    Empty if no price is set and no provider has reported a cost.
    """
    wanted: dict[tuple[str, str, str], CallSize] = {}
    for one in sizes:
        whom = one.role, one.endpoint, one.model
        wanted[whom] = one if whom not in wanted else _together(wanted[whom], one)
    known = {(one.role, one.endpoint, one.model): one for one in earlier}
    reported = {whom for whom, one in known.items() if one.reported}
    if not any(one.price is not None or whom in reported for whom, one in wanted.items()):
        return ()
    return tuple(_estimate(one, known.get(whom)) for whom, one in wanted.items())


def _together(one: CallSize, other: CallSize) -> CallSize:
    return replace(
        one,
        calls=one.calls + other.calls,
        input_tokens=_sum(one.input_tokens, other.input_tokens),
        output_tokens=_sum(one.output_tokens, other.output_tokens),
    )


def _estimate(size: CallSize, earlier: UsageTotal | None) -> CostEstimate:
    cost: dict[str, float] | None = None
    learnt = False
    if earlier is not None and earlier.reported:
        cost, learnt = {USD: earlier.reported_cost / earlier.reported * size.calls}, True
    elif size.price is None:
        pass
    elif earlier is not None and earlier.counted:
        share = size.calls / earlier.counted
        amount = size.price.of(earlier.input_tokens * share, earlier.output_tokens * share)
        cost, learnt = {size.price.currency: amount}, True
    elif size.input_tokens is not None and size.output_tokens is not None:
        cost = {size.price.currency: size.price.of(size.input_tokens, size.output_tokens)}
    return CostEstimate(
        role=size.role, model=size.model, calls=size.calls, cost=cost, learnt=learnt
    )


def total_cost(costs: Iterable[Mapping[str, float] | None]) -> dict[str, float]:
    """Add up costs by currency; None stands for an unknown cost and adds nothing."""
    found: dict[str, float] = {}
    for cost in costs:
        for currency, amount in (cost or {}).items():
            found[currency] = found.get(currency, 0.0) + amount
    return found


def _sum(one: Number | None, other: Number | None) -> Number | None:
    return None if one is None or other is None else one + other
