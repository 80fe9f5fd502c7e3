"""The OpenAPI document: its description, tags and operation ids, and bounds that generators can read."""

from enum import StrEnum
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

DESCRIPTION = """\
Safety evaluations of language models, with the Circuit Breaker Labs API, and model health checks with Enkrypt AI's.

Every call but `ping`, `version` and the two `health` calls needs a key of this service: in the header `cbl-api-key`, or in `apikey` for
model health. The operator of the service creates keys with `nightsweep serve keys create`. The calls under `/v1` are available at the root as well.
"""
_BOUNDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "default"}
)


class Tag(StrEnum):
    """The groups of calls, with the vendor's names."""

    EVALUATIONS = "Evaluations"
    RERUNS = "Re-run Evaluations"
    HISTORY = "Evaluation History"
    GROUPS = "Test Case Groups"
    KEYS = "API Keys"
    HEALTH = "Health Checks"
    MODEL_HEALTH = "Model Health"


_TAGS = {
    Tag.EVALUATIONS: "Send the cases of some groups to a model, and judge its replies.",
    Tag.RERUNS: "Send the cases of earlier results again, to another model or under another prompt.",
    Tag.HISTORY: "Results of the key's earlier evaluations.",
    Tag.GROUPS: "The groups of test cases.",
    Tag.KEYS: "The key and its monthly allotment.",
    Tag.HEALTH: "Whether the service is running, and the version of its API.",
    Tag.MODEL_HEALTH: "Whether a model answers a plain question.",
}
TAGS = [{"name": tag.value, "description": text} for tag, text in _TAGS.items()]


def install_document(app: FastAPI) -> None:
    """Make the app serve its document with integers as the bounds of integers.

    It is generated at the first request and kept, so routes must be added before that.
    """

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            generated = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            app.openapi_schema = _with_integer_bounds(generated)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def operation_id(route: APIRoute) -> str:
    """The id of a call, which generated clients use as the function's name: its path without `/v1`, in snake case."""
    path = route.path_format.removeprefix("/v1")
    return path.strip("/").replace("/", "_").replace("-", "_")


def _with_integer_bounds(part: Any) -> Any:
    # FastAPI writes every bound as a float, such as 20.0, which generators copy into clients.
    if isinstance(part, list):
        return [_with_integer_bounds(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: int(value)
        if name in _BOUNDS and isinstance(value, float) and value.is_integer()
        else _with_integer_bounds(value)
        for name, value in part.items()
    }
