"""An ASGI application on a listening socket, and an orderly end on SIGTERM, SIGHUP and Ctrl-C."""

import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, Signals, getsignal

import anyio
import uvicorn

from engine.serving.connections import Connections
from engine.serving.listener import BACKLOG
from engine.serving.middleware import Application
from engine.serving.shutdown import Shutdown

logger = logging.getLogger(__name__)

_MAX_ACCEPTED_AT_ONCE = 64
"""Connections that the event loop accepts before it serves any of them; at most an eighth of those allowed."""
_CLOSING_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that is listening: its base URL, the first lines of its log, and its shutdown."""

    url: str
    notices: Sequence[str]
    shutdown: Shutdown


@asynccontextmanager
async def run_server(
    app: Application, listener: socket.socket, connections: Connections, shutdown: Shutdown
) -> AsyncIterator[None]:
    """Serve an application on a listening socket; the end of the block cancels the work that is left."""
    limits = connections.limits
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            http=connections.protocol(),
            loop="asyncio",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=max(1, min(_MAX_ACCEPTED_AT_ONCE, connections.most // 8)),
            h11_max_incomplete_event_size=limits.head_bytes,
            timeout_keep_alive=limits.idle_s,
            timeout_graceful_shutdown=_CLOSING_S,
        )
    )
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listener], name="server")
        try:
            yield
        finally:
            shutdown.stop()
            server.should_exit = True


async def run_until_signal(
    hosting: AbstractAsyncContextManager[RunningServer],
    *,
    grace_s: float,
    ready: Callable[[str], None],
) -> None:
    """Run a server until a signal; call `ready` with its base URL once it listens.

    The first SIGTERM, SIGINT or SIGHUP (unless the process ignores it, as under `nohup`) rejects new
    requests and gives running ones `grace_s` seconds to end; a second SIGTERM or SIGINT ends them at once.
    """
    hangup = [] if getsignal(SIGHUP) is SIG_IGN else [SIGHUP]
    with anyio.open_signal_receiver(SIGINT, SIGTERM, *hangup) as signals:
        async with hosting as hosted:
            ready(hosted.url)
            for notice in hosted.notices:
                logger.info(notice)
            await anext(signals)
            async with anyio.create_task_group() as group:
                group.start_soon(
                    _cancel_on_signal, signals, group.cancel_scope, name="second signal"
                )
                await hosted.shutdown.drain(grace_s)
                group.cancel_scope.cancel()


async def _cancel_on_signal(signals: AsyncIterator[Signals], scope: anyio.CancelScope) -> None:
    async for number in signals:
        # Closing a terminal may send SIGHUP several times.
        if number != SIGHUP:
            scope.cancel()


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio uses `backlog` for two things: connections accepted at once, and connections that wait.
            listener.listen(BACKLOG)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are handled by run_until_signal, which lets running requests end first.
        yield
