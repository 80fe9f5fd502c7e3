"""Error responses in the contract's format, and the handlers that turn exceptions into them."""

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

_DESCRIPTIONS = {
    401: "The key is unknown or was revoked.",
    403: "The key's monthly allotment does not cover the evaluation.",
    404: "The model, group or earlier result does not exist, or the key may not use it.",
    413: "The request is larger than this service accepts.",
    422: "A header or a field is missing or out of bounds.",
    429: "The queue is full, or running evaluations have reserved the rest of the allotment"
    " (`quota_held`); `Retry-After` says when to try again.",
    500: "A model could not be reached, or failed, or its replies could not be judged; `error` says which.",
    503: "The service is shutting down, cannot write its ledger, or has reached a limit; `Retry-After` says"
    " when to try again.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for the OpenAPI document: the errors of these statuses, with their bodies.

    Raises KeyError for a status that the contract does not have.
    """
    return {
        status: {
            "model": HTTPValidationError if status == 422 else RefusalResponse,
            "description": _DESCRIPTIONS[status],
        }
        for status in statuses
    }


def install_handlers(app: FastAPI, *, retry_after_s: int) -> None:
    """Answer every error of the app in the contract's format, also those of a ledger that cannot be written.

    `retry_after_s`, in seconds, is sent with 503.
    """

    @app.exception_handler(ApiError)
    async def handle_api_error(_request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(LedgerError)
    async def handle_ledger_error(_request: Request, error: LedgerError) -> Response:
        # Usually a full disk. The text names the file and SQLite's error, and quotes nothing of a request.
        logger.error("the ledger failed", extra={"error": str(error)})
        return ApiError(
            503,
            "this service cannot write its ledger, and starts no evaluation until it can; the cause is in"
            " its log",
            retry_after_s=retry_after_s,
        ).response()

    @app.exception_handler(RequestValidationError)
    async def handle_invalid_request(request: Request, error: RequestValidationError) -> Response:
        # Without the input, which JSON may not be able to represent: NaN, or half a surrogate pair.
        detail = [
            {"loc": list(found["loc"]), "msg": found["msg"], "type": found["type"]}
            for found in error.errors()
        ]
        for problem in detail:
            if problem["loc"] == ["body"] and not _has_json_type(request):
                problem["msg"] = (
                    "send the body as JSON, with the header content-type: application/json"
                )
        return _invalid(detail)

    @app.exception_handler(HTTPException)
    async def handle_http_error(_request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:
            # A body that is not UTF-8, or is nested too deeply: in the contract, a validation error.
            message = "the body cannot be read as JSON"
            return _invalid([{"loc": ["body"], "msg": message, "type": "json_invalid"}])
        response = ApiError(error.status_code, str(error.detail)).response()
        response.headers.update(error.headers or {})
        return response


def _has_json_type(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _invalid(detail: list[dict[str, Any]]) -> Response:
    text = HTTPValidationError.model_validate({"detail": detail}).model_dump()
    return JSONResponse(_encodable(text), status_code=422)


def _encodable(value: Any) -> Any:
    """The value with its text made encodable in UTF-8: a key of the request's body can be any text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value
