"""The running service: a socket, uvicorn on it, and an orderly end on SIGTERM, SIGHUP and Ctrl-C."""

import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, Signals, getsignal
from typing import cast

import anyio
import uvicorn

from engine.kinds import Clock, UsageError
from engine.machine import connections_allowed
from jobs.serve.app import create_app
from jobs.serve.config import Listen, ServeConfig
from jobs.serve.connections import Connections
from jobs.serve.evaluations import Evaluations
from jobs.serve.ledger import Ledger
from jobs.serve.model_catalog import ModelCatalog
from jobs.serve.shutdown import Shutdown

logger = logging.getLogger(__name__)

_BACKLOG = 2048
"""Connections that wait in the kernel until the event loop takes them in."""
_ACCEPTED_AT_ONCE = 64
"""Connections that the event loop takes in before it looks at any of them, of each eight allowed one at most."""
_CLOSING_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A service that listens: its base URL, what ends it, and through which proxies it asks its models."""

    url: str
    notices: Sequence[str]
    shutdown: Shutdown


@asynccontextmanager
async def running(
    config: ServeConfig, clock: Clock, folder: Path = Path()
) -> AsyncIterator[Started]:
    """The service until the end of the block, which is entered once it listens.

    References to files of keys start in `folder`, that of the configuration.

    Raises UsageError for what stands in the way: an address in use, a ledger, a model, a group.
    """
    catalog = ModelCatalog(config, clock, folder)
    ledger = Ledger(Path(config.ledger), clock, history_days=config.history_days)
    with _listening(config.listen) as listener:
        async with ledger, catalog:
            shutdown = Shutdown(clock, retry_after_s=config.limits.retry_after_s)
            evaluations = Evaluations(config, ledger, catalog, shutdown, clock)
            most, notices = _connections_allowed(config.limits.connections)
            connections = Connections(config.limits, most=most)
            app = create_app(config, ledger, catalog, evaluations, shutdown, connections, clock)
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
                    backlog=max(1, min(_ACCEPTED_AT_ONCE, most // 8)),
                    h11_max_incomplete_event_size=config.limits.head_bytes,
                    timeout_keep_alive=config.limits.idle_s,
                    timeout_graceful_shutdown=_CLOSING_S,
                )
            )
            async with anyio.create_task_group() as group:
                group.start_soon(server.serve, [listener], name="server")
                try:
                    yield Started(
                        url=_url(listener),
                        notices=[*catalog.notices(), *notices],
                        shutdown=shutdown,
                    )
                finally:
                    shutdown.stop()
                    server.should_exit = True


async def serve(
    config: ServeConfig, clock: Clock, ready: Callable[[str], None], folder: Path = Path()
) -> None:
    """Serve until a signal; `ready` is told the base URL once there is one.

    The first SIGTERM, SIGINT or SIGHUP (unless `nohup` has it ignored) ends what waits in line and
    gives what runs `limits.grace_s`; a second SIGTERM or SIGINT ends it.
    """
    hangup = [] if getsignal(SIGHUP) is SIG_IGN else [SIGHUP]
    with anyio.open_signal_receiver(SIGINT, SIGTERM, *hangup) as signals:
        async with running(config, clock, folder) as started:
            ready(started.url)
            for notice in started.notices:
                logger.info(notice)
            await anext(signals)
            async with anyio.create_task_group() as group:
                group.start_soon(_cut_short, signals, group.cancel_scope, name="second signal")
                await started.shutdown.drain(config.limits.grace_s)
                group.cancel_scope.cancel()


async def _cut_short(signals: AsyncIterator[Signals], scope: anyio.CancelScope) -> None:
    async for number in signals:
        # A terminal that is closed may say so several times.
        if number != SIGHUP:
            scope.cancel()


def _connections_allowed(wanted: int) -> tuple[int, list[str]]:
    """How many connections may be open, and what the log says where this is less than was `wanted`.

    Half of the files that the process may open stay free, for its ledger and for the models.
    """
    allowed = connections_allowed()
    if allowed is None or wanted <= allowed // 2:
        return wanted, []
    most = max(1, allowed // 2)
    notice = (
        f"only {most} of limits.connections: {wanted} may be open, half of the files that this process may"
        " open; raise `ulimit -n`, or lower limits.connections"
    )
    return most, [notice]


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio has one figure for both, how many it takes in at once and how many may wait.
            listener.listen(_BACKLOG)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Ours to handle: what runs is given its time before the server ends.
        yield


@contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    try:
        [found, *_] = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)
        # With its zone, which a link-local address of version 6 needs.
        listener = socket.create_server(
            cast("tuple[str, int]", found[4]), family=found[0], backlog=_BACKLOG
        )
    except (OSError, UnicodeError) as error:
        # Of what is said of an address, the first words; the others repeat it.
        why = str(getattr(error, "strerror", "no such name can be")).partition(" (")[0]
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        raise UsageError(
            f"cannot listen on {host}:{listen.port}: {why}; {_advice(error)}"
        ) from None
    with listener:
        # Connections inherit it. Without it the end of each answer waits for the other side's
        # acknowledgement, some 40 ms; asyncio does not see that these sockets speak TCP.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _advice(error: OSError | UnicodeError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return "choose another listen.port, or stop what is there"
    if number == errno.EACCES:
        return "choose a listen.port above 1023"
    return "listen.host is an address of this machine, such as 127.0.0.1 or ::1, or a name of one"


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
