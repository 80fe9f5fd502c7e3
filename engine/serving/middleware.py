"""ASGI middleware around an application: body limits, responses to crashes, the access log."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

from engine.clock import Clock
from engine.serving.access_log import places_of
from engine.serving.body_budget import Body, BodyBudget
from engine.serving.errors import ApiError
from engine.serving.limits import ServerLimits
from engine.serving.shutdown import Shutdown

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""The status in the log for a client that disconnected; it is never sent."""
_UNKNOWN = "(unknown)"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
OnAnswered = Callable[[str, str, int, float], None]
"""Called after each request with its method, path, status and duration in seconds."""


class RequestMiddleware:
    """Reads each request's body within the limits, answers 500 after a crash, and logs each request once.

    The log and `on_answered` get only the paths of the application's routes, and "(unknown)" for all others,
    because a client can put anything into a path. An endpoint that knows its caller puts a name into
    `scope["state"]["key_name"]`, which is logged as `key`.
    """

    def __init__(
        self,
        app: Application,
        *,
        limits: ServerLimits,
        budget: BodyBudget,
        shutdown: Shutdown,
        clock: Clock,
        on_answered: OnAnswered,
    ) -> None:
        self._app = app
        self._limits = limits
        self._budget = budget
        self._shutdown = shutdown
        self._clock = clock
        self._on_answered = on_answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.now()
        scope.setdefault("state", {})
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._handle(scope, receive, send_and_note)
        except Exception as error:
            # Not the error's text, which may contain what the client sent.
            logger.error("a request crashed", extra={"error": list(places_of(error))})
            if not status:
                response = ApiError(
                    500, "this service failed on the request; its log has the place of the error"
                ).response()
                await response(scope, receive, send_and_note)
        finally:
            self._log(scope, status or CLIENT_CLOSED_REQUEST, self._clock.now() - began)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._budget.body() as body:
            try:
                with self._shutdown.reading():
                    content = await self._read_body(scope, receive, body)
            except ApiError as error:
                response = error.response()
                response.headers["connection"] = "close"
            else:
                if content is not None:
                    await self._app(scope, _replay(content, receive), send)
                return
        # Sent here, when neither the budget nor the error's traceback holds the body any more.
        await response(scope, receive, send)

    async def _read_body(self, scope: Scope, receive: Receive, body: Body) -> bytes | None:
        """Read the whole body. None if the client disconnected meanwhile. Raises ApiError over a limit."""
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
            f"the request was incomplete after {self._limits.request_s:g} s, and arrived at less than"
            f" {self._limits.bytes_per_s} bytes a second",
        )

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else _UNKNOWN
        # A matched route leaves its endpoint in the scope.
        path = scope["path"] if "endpoint" in scope else _UNKNOWN
        self._on_answered(method, path, status, seconds)
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


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body that was read, and then what the connection receives."""
    is_replayed = False

    async def replay() -> Message:
        nonlocal is_replayed
        if is_replayed:
            return await receive()
        is_replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
