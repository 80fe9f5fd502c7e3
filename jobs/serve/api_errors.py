"""Refusals in the contract's shapes, and the handlers that make them of whatever was raised."""

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engine.serving.errors import ApiError
from jobs.serve.bodies import HTTPValidationError, RefusalResponse
from jobs.serve.ledger.file import LedgerError

logger = logging.getLogger(__name__)

_MEANINGS = {
    401: "The key is not known, or was revoked.",
    403: "The key's allotment does not cover the evaluation.",
    404: "There is no such model, group or earlier result, or none that the key may use.",
    413: "The request is larger than this service reads.",
    422: "A header or a field is missing or out of bounds.",
    429: "Too much is going on, or evaluations that are running hold what the allotment has left"
    " (`quota_held`); `Retry-After` says when to come back.",
    500: "A model could not be asked or judged; `error` says how.",
    503: "The service is being stopped, cannot write, or reads as much as it may; `Retry-After` says when to"
    " come back.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: which refusals it knows."""
    return {
        status: {
            "model": HTTPValidationError if status == 422 else RefusalResponse,
            "description": _MEANINGS[status],
        }
        for status in statuses
    }


def install_handlers(app: FastAPI, *, retry_after_s: int) -> None:
    """Have every refusal of the app answered in the contract's shapes."""

    @app.exception_handler(ApiError)
    async def refused(_request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(LedgerError)
    async def unkept(_request: Request, error: LedgerError) -> Response:
        # A full disk, mostly: its text names the file and what the database says, nothing of a request.
        logger.error("the ledger failed", extra={"error": str(error)})
        return ApiError(
            503,
            "this service cannot write down what it does, and begins nothing until it can; whoever runs"
            " it finds the cause in its log",
            retry_after_s=retry_after_s,
        ).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Place and rule alone: what was sent may be NaN or half a character, which no JSON can hold.
        detail = [
            {"loc": list(found["loc"]), "msg": found["msg"], "type": found["type"]}
            for found in error.errors()
        ]
        for problem in detail:
            if problem["loc"] == ["body"] and not _says_json(request):
                problem["msg"] = (
                    "send the body as JSON, with the header content-type: application/json"
                )
        return _invalid(detail)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:
            # A body that is no text, or nested too deep: to the contract a mistake like any other.
            message = "the body cannot be read as JSON"
            return _invalid([{"loc": ["body"], "msg": message, "type": "json_invalid"}])
        response = ApiError(error.status_code, str(error.detail)).response()
        response.headers.update(error.headers or {})
        return response


def _says_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _invalid(detail: list[dict[str, Any]]) -> Response:
    text = HTTPValidationError.model_validate({"detail": detail}).model_dump()
    return JSONResponse(_storable(text), status_code=422)


def _storable(value: Any) -> Any:
    """The value with text that UTF-8 can carry: a key of the request's body may hold anything."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value
