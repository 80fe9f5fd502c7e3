"""A small application, hosted on loopback in a thread of its own."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.clock import SystemClock
from engine.serving.body_budget import BodyBudget
from engine.serving.connections import Connections
from engine.serving.limits import ServerLimits
from engine.serving.listener import open_listener, url_of
from engine.serving.middleware import RequestMiddleware
from engine.serving.server import run_server
from engine.serving.shutdown import Shutdown


@dataclass(kw_only=True)
class Host:
    """The hosted application.

    /ping answers `{}`, /echo returns the body, /crash raises it, /big is a large answer, and /wait answers
    when `release` is called.
    """

    limits: ServerLimits
    url: str = ""
    portal: BlockingPortal | None = None
    answered: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.shutdown = Shutdown(SystemClock(), retry_after_s=self.limits.retry_after_s)
        self.connections = Connections(self.limits, most=self.limits.connections)
        self.budget = BodyBudget(self.limits)
        self.reached = Event()
        """Set once a request of /wait is being handled."""
        self._released = anyio.Event()

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        assert seconds >= 0
        self.answered[method, path, status] += 1

    def release(self) -> None:
        """Let /wait answer."""
        assert self.portal is not None
        self.portal.call(self._released.set)

    async def ping(self, _request: Request) -> Response:
        return Response("{}")

    async def big(self, _request: Request) -> Response:
        return Response(b"x" * 100_000)

    async def wait(self, _request: Request) -> Response:
        self.reached.set()
        await self._released.wait()
        return Response("done")

    async def echo(self, request: Request) -> Response:
        return Response(await request.body())

    async def crash(self, request: Request) -> Response:
        raise RuntimeError((await request.body()).decode())

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Host"]:
        """Host the application until the end of the block."""
        app = Starlette(
            routes=[
                Route(f"/{name}", getattr(self, name), methods=["GET", "POST"])
                for name in ("ping", "echo", "crash", "big", "wait")
            ]
        )
        app.add_middleware(
            RequestMiddleware,
            limits=self.limits,
            budget=self.budget,
            shutdown=self.shutdown,
            clock=SystemClock(),
            on_answered=self.count,
        )
        with open_listener("127.0.0.1", 0, host_setting="--host", port_setting="--port") as socket:
            self.url = url_of(socket)
            async with run_server(app, socket, self.connections, self.shutdown):
                yield self


@contextmanager
def hosted(**limits: Any) -> Iterator[Host]:
    """The application on loopback, within the given limits."""
    with start_blocking_portal() as portal:
        host = Host(limits=ServerLimits(**limits), portal=portal)
        with portal.wrap_async_context_manager(host.running()):
            yield host
