"""The running service: a socket, uvicorn on it, and an orderly end on SIGTERM, SIGHUP and Ctrl-C."""

import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, Signals, getsignal

import anyio
import uvicorn

from engine.job import Clock, UsageError
from jobs.serve.app import create_app
from jobs.serve.closing import Closing
from jobs.serve.config import Listen, ServeConfig
from jobs.serve.evaluations import Evaluations
from jobs.serve.ledger import Ledger
from jobs.serve.offers import Offers

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_CLOSING_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A service that listens: its base URL, what ends it, and through which proxies it asks its models."""

    url: str
    notices: Sequence[str]
    closing: Closing


@asynccontextmanager
async def running(
    config: ServeConfig, clock: Clock, folder: Path = Path()
) -> AsyncIterator[Started]:
    """The service until the end of the block, which is entered once it listens.

    References to files of keys start in `folder`, that of the configuration.

    Raises UsageError for what stands in the way: an address in use, a ledger, a model, a group.
    """
    offers = Offers(config, clock, folder)
    ledger = Ledger(Path(config.ledger), clock, history_days=config.history_days)
    with _listening(config.listen) as listener:
        async with ledger, offers:
            closing = Closing(clock, retry_after_s=config.limits.retry_after_s)
            evaluations = Evaluations(config, ledger, offers, closing, clock)
            app = create_app(config, ledger, offers, evaluations, closing, clock)
            server = _Server(
                uvicorn.Config(
                    app,
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
                    yield Started(url=_url(listener), notices=offers.notices(), closing=closing)
                finally:
                    closing.stop()
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
                await started.closing.drain(config.limits.grace_s)
                group.cancel_scope.cancel()


async def _cut_short(signals: AsyncIterator[Signals], scope: anyio.CancelScope) -> None:
    async for number in signals:
        # A terminal that is closed may say so several times.
        if number != SIGHUP:
            scope.cancel()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Ours to handle: what runs is given its time before the server ends.
        yield


@contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    try:
        [found, *_] = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)
        listener = socket.create_server(found[4][:2], family=found[0], backlog=_BACKLOG)
    except OSError as error:
        # Of what is said of an address, the first words; the others repeat it.
        why = str(error.strerror).partition(" (")[0]
        raise UsageError(
            f"cannot listen on {listen.host}:{listen.port}: {why}; {_advice(error)}"
        ) from None
    with listener:
        # Connections inherit it. Without it the end of each answer waits for the other side's
        # acknowledgement, some 40 ms; asyncio does not see that these sockets speak TCP.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "choose another listen.port, or stop what is there"
    if error.errno == errno.EACCES:
        return "choose a listen.port above 1023"
    return "listen.host is an address of this machine, such as 127.0.0.1 or ::1, or a name of one"


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
