"""`prices` of an endpoint: what the tokens of its models cost."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from engine.kinds import Price

_AMOUNT = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class ModelPrice(BaseModel):
    """What a model costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Annotated[_AMOUNT, Field(description="For a million tokens of prompts.")]
    output: Annotated[_AMOUNT, Field(description="For a million tokens of replies.")]
    currency: Annotated[
        str, Field(pattern=r"^[A-Z]{3}$", description="The currency of both, as ISO 4217 has it.")
    ] = "USD"


Prices: TypeAlias = Mapping[Annotated[str, Field(min_length=1)], ModelPrice]
"""By a model's name, or a pattern of names."""


def price_of(model: str, prices: Mapping[str, ModelPrice]) -> Price | None:
    """The price under a model's exact name, or else under the first pattern that it fits."""
    fitting = (name for name in prices if fnmatchcase(model, name))
    found = prices.get(model) or prices.get(next(fitting, ""))
    if found is None:
        return None
    return Price(input=found.input, output=found.output, currency=found.currency)
