"""The list of an endpoint's models, and whether a name is on it."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

_LISTS_NO_DEPLOYMENTS = (".azure.com", ".microsoft.com")
"""Hosts that list base models, while calls name a customer's deployments of them."""


def read_listing(document: Any) -> frozenset[str] | None:
    """The names in the answer to GET /models; None if it is not a list of models.

    The list is in `data` (OpenAI), in `models` (llama.cpp, Gemini), or the whole document (Together). Its
    entries are names, or objects with an `id` or a `name`.
    """
    if isinstance(document, Mapping):
        document = document.get("data", document.get("models"))
    if not isinstance(document, list):
        return None
    names = (
        one.get("id", one.get("name")) if isinstance(one, Mapping) else one for one in document
    )
    return frozenset(name for name in names if isinstance(name, str) and name)


def lists_callable_names(host: str) -> bool:
    """Whether a host lists the names that calls use; Azure lists models and not deployments, which are called."""
    return not host.endswith(_LISTS_NO_DEPLOYMENTS)


def is_listed(model: str, listed: Collection[str]) -> bool:
    """Whether a listed model answers calls for `model`, by the rules of the endpoints.

    The name and the list may each omit the tag `latest` (Ollama) and the folder `models/` (Gemini); a
    routing suffix such as `:nitro` (OpenRouter) is ignored. An entry with a star is a pattern (LiteLLM).
    """
    spellings = {model, f"{model}:latest", f"models/{model}", model.removeprefix("models/")}
    if "/" in model:
        spellings.add(model.rpartition(":")[0] or model)
    return not spellings.isdisjoint(listed) or any(
        fnmatchcase(model, name) for name in listed if "*" in name
    )
