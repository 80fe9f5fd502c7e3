"""`prices` of an endpoint: the price of its models' tokens."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from engine.kinds import Price

_AMOUNT = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class ModelPrice(BaseModel):
    """The prices of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Annotated[_AMOUNT, Field(description="The price of a million tokens of prompts.")]
    output: Annotated[_AMOUNT, Field(description="The price of a million tokens of replies.")]
    currency: Annotated[
        str, Field(pattern=r"^[A-Z]{3}$", description="The currency of both, an ISO 4217 code.")
    ] = "USD"


Prices: TypeAlias = Mapping[Annotated[str, Field(min_length=1)], ModelPrice]
"""By a model's name, or a pattern of names."""


def price_of(model: str, prices: Mapping[str, ModelPrice]) -> Price | None:
    """The price of a model's tokens: by its exact name, or else by the first pattern that matches.

    Patterns are tried in the order of the file, and case matters. None if there is none.
    """
    matching = (name for name in prices if fnmatchcase(model, name))
    found = prices.get(model) or prices.get(next(matching, ""))
    if found is None:
        return None
    return Price(input=found.input, output=found.output, currency=found.currency)
