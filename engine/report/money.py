"""The usage and cost of calls as text."""

from collections.abc import Iterable, Mapping, Sequence

from engine.core.money import CostEstimate, Spending, total_cost
from engine.core.terminal import plain


def amounts(cost: Mapping[str, float]) -> str:
    """Costs by currency, in alphabetical order of the currencies, such as `3.10 EUR and 1.24 USD`.

    Amounts below 0.1 have four decimals, others two, and one below 0.0001 is `less than 0.0001`. Empty if
    there are none.
    """
    return " and ".join(f"{_amount(amount)} {plain(name)}" for name, amount in sorted(cost.items()))


def _amount(amount: float) -> str:
    if amount == 0 or amount >= 0.1:
        return f"{amount:,.2f}"
    return f"{amount:.4f}" if amount >= 0.0001 else "less than 0.0001"


def spending_lines(spending: Iterable[Spending]) -> list[str]:
    """The usage and cost of a run so far, in all and, if there are several, by model in the order given.

    Models of which neither tokens nor a cost is known are left out; empty if none is left.
    """
    known = [one for one in spending if one.input_tokens is not None or one.cost is not None]
    lines = spent_lines(known)
    if len(known) > 1:
        lines += [f"    {plain(one.role)} {plain(one.model)}: {_parts([one])}" for one in known]
    return lines


def spent_lines(spending: Iterable[Spending]) -> list[str]:
    """The usage and cost of a run so far on one line, over all models; empty if neither is known of any of them."""
    known = [one for one in spending if one.input_tokens is not None or one.cost is not None]
    return [f"spent: {_parts(known)}"] if known else []


def estimate_lines(estimates: Sequence[CostEstimate]) -> list[str]:
    """The expected cost of a sweep, and what the estimate is based on; empty without estimates.

    At most three lines: what the calls cost at most by their prices, about what they cost by earlier calls,
    and the models of which neither is known. The first two are added up over their models, not over each
    other.
    """
    lines = []
    for learnt, words in ((False, "at most {}"), (True, "about {}, based on earlier calls")):
        known = [one for one in estimates if one.cost is not None and one.learnt is learnt]
        if known:
            lines.append(
                words.format(amounts(total_cost(one.cost for one in known)))
                + _for_models(known, estimates)
            )
    if unknown := [one for one in estimates if one.cost is None]:
        lines.append(
            "not known"
            + _for_models(unknown, estimates)
            + ": neither prices nor earlier calls determine it"
        )
    return lines


def _for_models(some: Sequence[CostEstimate], estimates: Sequence[CostEstimate]) -> str:
    """Name the models of `some`; empty if these are all the estimates."""
    if len(some) == len(estimates):
        return ""
    return f" for {', '.join(f'{plain(one.role)} {plain(one.model)}' for one in some)}"


def _parts(spending: list[Spending]) -> str:
    calls = sum(one.calls for one in spending)
    parts = [f"{calls:,} calls"]
    if any(one.input_tokens is not None for one in spending):
        read = sum(one.input_tokens or 0 for one in spending)
        written = sum(one.output_tokens or 0 for one in spending)
        parts.append(f"{read:,} tokens in, {written:,} out")
    cost = total_cost(one.cost for one in spending)
    if cost:
        without = sum(one.calls_without_cost for one in spending)
        parts.append(amounts(cost) + (f" for {calls - without:,} of them" if without else ""))
    return ", ".join(parts)
