"""The usage and cost of calls as text."""

from collections.abc import Iterable, Mapping, Sequence

from engine.core.money import CostEstimate, Spending, total_cost
from engine.core.terminal import plain


def amounts(cost: Mapping[str, float]) -> str:
    """Costs by currency, in alphabetical order, such as `1.24 USD`; amounts below 0.1 have four decimals."""
    return " and ".join(f"{_amount(amount)} {plain(name)}" for name, amount in sorted(cost.items()))


def _amount(amount: float) -> str:
    if amount == 0 or amount >= 0.1:
        return f"{amount:,.2f}"
    return f"{amount:.4f}" if amount >= 0.0001 else "less than 0.0001"


def spending_lines(spending: Iterable[Spending]) -> list[str]:
    """The usage and cost of a run so far, in all and by model; empty if unknown."""
    known = [one for one in spending if one.input_tokens is not None or one.cost is not None]
    lines = spent_lines(known)
    if len(known) > 1:
        lines += [f"    {plain(one.role)} {plain(one.model)}: {_parts([one])}" for one in known]
    return lines


def spent_lines(spending: Iterable[Spending]) -> list[str]:
    """The usage and cost of a run so far on one line, over all models."""
    known = [one for one in spending if one.input_tokens is not None or one.cost is not None]
    return [f"spent: {_parts(known)}"] if known else []


def estimate_lines(estimates: Sequence[CostEstimate]) -> list[str]:
    """The expected cost of a sweep, and what the estimate is based on; empty without estimates."""
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
