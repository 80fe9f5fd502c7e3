"""Chat sweeps from Python: the mapping of a sweep file, made of arguments."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from engine.documents.frames import rows_of_frame
from engine.registry import Registry
from engine.sweep.model import Sweep

_NAME_MAX = 60


Inputs: TypeAlias = Any
"""A list of texts and of mappings such as {"id": ..., "text": ..., "expected": ...}; {"file": ...}; or a data frame
of pandas, polars or pyarrow with an input in each row."""
Numbers: TypeAlias = Sequence[float] | Mapping[str, float]
"""A list, or {"from": ..., "to": ..., "step": ...}."""
Prompts: TypeAlias = Mapping[str, str | None] | Sequence[str | Mapping[str, Any]]
"""System prompts by name, None for a baseline without one; or texts and mappings as in a sweep file."""


def chat(
    name: str,
    *,
    models: str | Sequence[str],
    inputs: Inputs,
    system_prompts: Prompts | None = None,
    temperatures: Numbers | None = None,
    top_p: Numbers | None = None,
    max_tokens: Numbers | None = None,
    seeds: Numbers | None = None,
    repeats: int = 1,
    scorers: Sequence[str | Mapping[str, Any]] = (),
    base_url: str | None = None,
    api_key: str | None = None,
    rate_per_min: int | None = None,
    tokens_per_min: int | None = None,
    max_in_flight: int | None = None,
    prices: Mapping[str, Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    reasoning: Mapping[str, Any] | None = None,
    max_completion_tokens: int | None = None,
    service: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    retry: Mapping[str, Any] | None = None,
    exclude: Sequence[Mapping[str, Any]] = (),
    registry: Registry | None = None,
    folder: str | Path = "",
) -> Sweep:
    """Make a sweep that asks each model each input, and has scorers look at the replies.

    Returns the sweep of `service: {kind: chat}` with these values, as if it had been read from a file: every
    combination of models, system prompts, inputs and settings is a cell, asked `repeats` times. An axis that
    is None is left to the endpoint. Without a `base_url` the built-in model is asked. `api_key` and the
    values of `headers` may be references such as `env:OPENROUTER_API_KEY`. `rate_per_min`,
    `tokens_per_min` and `max_in_flight` are the limits of the endpoint, `service` its further settings,
    `limits` those of the sweep, `prices` the price of a million tokens by model. Paths start at `folder`.

    Raises SweepError with every mistake.

    Example:
        >>> from engine import chat
        >>> sweep = chat(
        ...     "capitals",
        ...     models="smollm2-135m",
        ...     inputs=[{"text": "What is the capital of France?", "expected": "Paris"}],
        ...     scorers=["contains"],
        ...     temperatures=[0.0],
        ...     max_tokens=[24],
        ... )
        >>> sweep.plan().cells
        1
    """
    settings = {
        "base_url": base_url,
        "api_key": api_key,
        "rate_per_min": rate_per_min,
        "tokens_per_min": tokens_per_min,
        "max_in_flight": max_in_flight,
        "prices": prices,
        "headers": headers,
        "extra_body": extra_body,
        "reasoning": reasoning,
        "max_completion_tokens": max_completion_tokens,
    }
    axes = {
        "system_prompts": None if system_prompts is None else _prompts(system_prompts),
        "temperatures": _listed(temperatures),
        "top_p": _listed(top_p),
        "max_tokens": _listed(max_tokens),
        "seeds": _listed(seeds),
    }
    written = {
        "name": name,
        "service": {
            "kind": "chat",
            **_given(settings),
            "scorers": list(scorers),
            **(service or {}),
        },
        "evaluation": "completion",
        "matrix": {
            "models": [models] if isinstance(models, str) else list(models),
            "inputs": _inputs(inputs),
            **_given(axes),
            "repeats": repeats,
        },
        **_given({"limits": limits, "retry": retry}),
        **({"exclude": list(exclude)} if exclude else {}),
    }
    return Sweep.parse(written, registry=registry, folder=folder, source=name)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _listed(values: Any) -> Any:
    """The values of an axis as a list; anything else unchanged, such as {"from": ..., "to": ..., "step": ...}."""
    is_listed = isinstance(values, Iterable) and not isinstance(values, str | Mapping)
    return list(values) if is_listed else values


def _inputs(inputs: Inputs) -> Any:
    if isinstance(inputs, Mapping):
        return inputs
    if isinstance(inputs, str):
        return [inputs]
    rows = rows_of_frame(inputs)
    return _listed(inputs) if rows is None else [_known(row) for row in rows]


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its missing values, and with Python's own numbers."""
    return {
        str(name): value.item() if hasattr(value, "item") else value
        for name, value in row.items()
        if value is not None
    }


def _prompts(prompts: Prompts) -> list[Any]:
    if isinstance(prompts, Mapping):
        return [{"name": name, "text": text} for name, text in prompts.items()]
    return [
        {"name": _name_of(prompt), "text": prompt} if isinstance(prompt, str) else prompt
        for prompt in ([prompts] if isinstance(prompts, str) else prompts)
    ]


def _name_of(prompt: str) -> str:
    """The beginning of a prompt, on one line."""
    return " ".join(prompt.split())[:_NAME_MAX].rstrip()
