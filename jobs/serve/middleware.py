"""The outermost layer: bodies read under a cap, crashes told as such, every request logged once."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import anyio

from engine.kinds import Clock
from jobs.serve.api_errors import ApiError, error_response
from jobs.serve.body_budget import Body, BodyBudget
from jobs.serve.config import Limits
from jobs.serve.metrics import Metrics
from jobs.serve.shutdown import Shutdown

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""What the log says of a client that hung up; nobody is sent it."""
_UNKNOWN = "(unknown)"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequestMiddleware:
    """ASGI middleware. The log has paths that there are, never another: anything may stand there."""

    def __init__(
        self,
        app: Application,
        *,
        limits: Limits,
        budget: BodyBudget,
        shutdown: Shutdown,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._limits = limits
        self._budget = budget
        self._shutdown = shutdown
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.now()
        scope.setdefault("state", {})
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._handled(scope, receive, noted)
        except Exception as error:
            # What was raised may hold what was sent: its kind and its places say enough.
            logger.error("a request crashed", extra={"error": list(_places(error))})
            if not status:
                response = error_response(500, "the service failed; its log says where")
                await response(scope, receive, noted)
        finally:
            self._note(scope, status or CLIENT_CLOSED_REQUEST, self._clock.now() - began)

    async def _handled(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._budget.body() as body:
            try:
                with self._shutdown.reading():
                    content = await self._content(scope, receive, body)
            except ApiError as error:
                refused = error_response(
                    error.status, error.message, retry_after_s=error.retry_after_s
                )
                refused.headers["connection"] = "close"
            else:
                if content is not None:
                    await self._app(scope, _replayed(content, receive), send)
                return
        # Here, where neither the budget nor the error's traceback holds what was read.
        await refused(scope, receive, send)

    async def _content(self, scope: Scope, receive: Receive, body: Body) -> bytes | None:
        """The whole body; None if the client hung up over it; raises ApiError over the limits."""
        most = self._limits.request_bytes
        too_large = ApiError(413, f"the request is larger than {most} bytes")
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > most:
                raise too_large
        content = bytearray()
        body.reading.deadline = anyio.current_time() + self._limits.request_s
        with body.reading:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                self._budget.add(body, len(part))
                content += part
                if len(content) > most:
                    raise too_large
                if not message.get("more_body", False):
                    self._budget.complete(body)
                    return bytes(content)
                body.reading.deadline += len(part) / self._limits.bytes_per_s
        self._budget.check(body)
        raise ApiError(
            408,
            f"the request was not whole within {self._limits.request_s:g} s, and came at less than"
            f" {self._limits.bytes_per_s} bytes a second",
        )

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else _UNKNOWN
        # No route has a parameter: the path of a known one is its template.
        path = scope["path"] if "endpoint" in scope else _UNKNOWN
        self._metrics.answered(method, path, status, seconds)
        logger.info(
            "request",
            extra={
                "method": method,
                "path": path,
                "status": status,
                "duration_ms": round(seconds * 1000, 1),
                "key": scope["state"].get("key_name"),
            },
        )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, and then what comes of the connection."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _places(error: BaseException) -> Iterator[str]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _places(part)
        return
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    yield f"{type(error).__name__} at {where}"
