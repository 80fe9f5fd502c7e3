"""The error that ends a request, and its response."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

_NAMES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    429: "too_many_requests",
    431: "request_head_too_large",
    500: "internal_server_error",
    503: "service_unavailable",
}


class ApiError(Exception):
    """A request that cannot be answered.

    `message` is sent to the caller, so it must not mention other callers or secrets. `name` is the
    machine-readable cause; by default it follows from the status. `details` are further fields of the
    response. `retry_after_s` becomes the header Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after_s: int | None = None,
        name: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s
        self.name = name or _NAMES.get(status, "error")
        self.details = dict(details or {})

    def response(self) -> Response:
        """The response: `{"detail": {"error": name, "message": message, ...details}}`."""
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        detail = {"error": self.name, "message": self.message, **self.details}
        return JSONResponse({"detail": detail}, status_code=self.status, headers=headers)
