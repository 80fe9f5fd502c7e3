"""What the OpenAPI document says beside the calls themselves: its tags, and bounds that clients can read."""

from enum import StrEnum
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

DESCRIPTION = """\
Safety evaluations of language models, as the Circuit Breaker Labs API has them, and model health as Enkrypt AI has it.

Every call but `ping`, `version` and the two `health` calls needs a key of this service: in the header `cbl-api-key`, or in `apikey` for
model health. Whoever runs the service makes keys with `nightsweep serve keys create`. The calls under `/v1` are at the root as well.
"""
_BOUNDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "default"}
)


class Tag(StrEnum):
    """The groups of calls, named as the vendor names them."""

    EVALUATIONS = "Evaluations"
    RERUNS = "Re-run Evaluations"
    HISTORY = "Evaluation History"
    GROUPS = "Test Case Groups"
    KEYS = "API Keys"
    HEALTH = "Health Checks"
    MODEL_HEALTH = "Model Health"


_TAGS = {
    Tag.EVALUATIONS: "Ask a model the cases of some groups, and judge its replies.",
    Tag.RERUNS: "Ask the cases of earlier results again, of another model or under another prompt.",
    Tag.HISTORY: "Results of earlier evaluations of the key.",
    Tag.GROUPS: "What there is to be asked.",
    Tag.KEYS: "The key, and what is left of its monthly allotment.",
    Tag.HEALTH: "Whether the service is there, and what it speaks.",
    Tag.MODEL_HEALTH: "Whether a model answers a plain question.",
}
TAGS = [{"name": tag.value, "description": text} for tag, text in _TAGS.items()]


def describe(app: FastAPI) -> None:
    """Have the app tell its document with whole numbers as bounds of whole numbers."""

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            told = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            app.openapi_schema = _whole(told)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def operation_of(route: APIRoute) -> str:
    """The name of a call, as functions of generated clients have it."""
    path = route.path_format.removeprefix("/v1")
    return path.strip("/").replace("/", "_").replace("-", "_")


def _whole(part: Any) -> Any:
    # FastAPI keeps each bound as a float: 20.0, which generators write into clients as it stands.
    if isinstance(part, list):
        return [_whole(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: int(value)
        if name in _BOUNDS and isinstance(value, float) and value.is_integer()
        else _whole(value)
        for name, value in part.items()
    }
