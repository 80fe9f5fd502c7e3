"""The running service: a socket, uvicorn on it, and an orderly end on SIGTERM and Ctrl-C."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import uvicorn

from engine.job import Clock, UsageError
from jobs.serve.app import create_app
from jobs.serve.config import Listen, ServeConfig
from jobs.serve.ledger import Ledger

_BACKLOG = 2048
_CLOSING_S = 5


@asynccontextmanager
async def running(config: ServeConfig, clock: Clock) -> AsyncIterator[str]:
    """The service until the end of the block; gives its base URL once it listens."""
    with _listening(config.listen) as listener:
        async with Ledger(Path(config.ledger), clock, history_days=config.history_days) as ledger:
            server = _Server(
                uvicorn.Config(
                    create_app(config, ledger, clock),
                    lifespan="off",
                    ws="none",
                    http="h11",
                    loop="asyncio",
                    access_log=False,
                    log_config=None,
                    server_header=False,
                    timeout_graceful_shutdown=_CLOSING_S,
                )
            )
            async with anyio.create_task_group() as group:
                group.start_soon(server.serve, [listener], name="server")
                try:
                    yield _url(listener)
                finally:
                    server.should_exit = True


async def serve(config: ServeConfig, clock: Clock, ready: Callable[[str], None]) -> None:
    """Serve until a signal says that it is enough."""
    async with running(config, clock) as url:
        ready(url)
        await anyio.sleep_forever()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Ours to handle: what runs is given its time before the server ends.
        yield


@contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {listen.host}:{listen.port}: {error.strerror}; choose another"
            " listen.port, or stop what is there"
        ) from None
    with listener:
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
