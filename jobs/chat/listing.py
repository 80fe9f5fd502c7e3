"""The list of models that an endpoint offers, and whether a name is on it."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

_LISTS_NO_DEPLOYMENTS = (".azure.com", ".microsoft.com")
"""Hosts whose list holds base models, while calls name the deployments that a customer made of them."""


def read_listing(document: Any) -> frozenset[str] | None:
    """The names in the answer to GET /models; None if it is no list of models.

    They stand in `data` (OpenAI) or `models` (llama.cpp, Gemini), or the list is all there is (Together);
    each is an object with an `id`, or with a `name` alone.
    """
    if isinstance(document, Mapping):
        document = document.get("data", document.get("models"))
    if not isinstance(document, list):
        return None
    named = (
        one.get("id", one.get("name")) if isinstance(one, Mapping) else one for one in document
    )
    return frozenset(name for name in named if isinstance(name, str) and name)


def lists_what_is_called(host: str) -> bool:
    """Whether the names in a host's list are those that calls use."""
    return not host.endswith(_LISTS_NO_DEPLOYMENTS)


def is_listed(model: str, listed: Collection[str]) -> bool:
    """Whether calls for a model are answered by one on the list, as endpoints match names.

    A list may leave out what a name may leave out too: the tag `latest` (Ollama), the folder `models/`
    (Gemini), a routing suffix such as `:nitro` (OpenRouter). An entry with a star is a pattern (LiteLLM).
    """
    spellings = {model, f"{model}:latest", f"models/{model}", model.removeprefix("models/")}
    if "/" in model:
        spellings.add(model.rpartition(":")[0] or model)
    return not spellings.isdisjoint(listed) or any(
        fnmatchcase(model, name) for name in listed if "*" in name
    )
