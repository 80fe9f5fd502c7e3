"""The connections of a server: how many may be open, and how long each may keep the server waiting.

uvicorn limits neither the time for a request's head nor the connections of one peer. Its only time limit is
for idle connections, and the first byte ends it (https://github.com/Kludex/uvicorn/issues/157).
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.machine import connections_allowed
from engine.serving.errors import ApiError
from engine.serving.limits import ServerLimits

logger = logging.getLogger(__name__)

_LOG_EVERY_S = 60
_NETWORK_BITS = 64
"""The size of the IPv6 network that a provider gives to one customer."""


class Phase(StrEnum):
    """What a connection is doing."""

    HEAD = "head"
    """Waiting for the rest of a request's head, or for a new connection's first byte."""
    BODY = "body"
    """Waiting for the rest of a request's body."""
    ANSWER = "answer"
    """Handling a complete request, or sending its answer."""
    IDLE = "idle"
    """Nothing of the next request has arrived."""
    CLOSING = "closing"
    """Closed by the server; the end of the answer may not have been read yet."""


class Closed(StrEnum):
    """Why the server closed a connection."""

    HEAD_TIMEOUT = "head_timeout"
    ANSWER_NOT_READ = "answer_not_read"
    MADE_ROOM = "made_room"
    NO_ROOM = "no_room"


class Connections:
    """All open connections, and the limits that they share.

    A connection over a limit, in all or from one peer, closes the one that has kept the server waiting
    for its request the longest, or else the one that has been idle the longest. A request that is being
    answered is never cut off: if there are only such connections, the new one is refused. `most`
    connections may be open, which fit_connections derives from `limits.connections`.
    """

    def __init__(self, limits: ServerLimits, *, most: int) -> None:
        self.limits = limits
        self.closed: Counter[Closed] = Counter()
        """Connections that the server closed, by reason."""
        self.most = most
        self._open: dict[Connection, str] = {}
        self._peers: Counter[str] = Counter()
        self._logged_at = -float(_LOG_EVERY_S)

    def __len__(self) -> int:
        return len(self._open)

    def protocol(self) -> type[asyncio.Protocol]:
        """The protocol class for uvicorn."""
        return cast("type[asyncio.Protocol]", partial(Connection, self))

    def enter(self, connection: "Connection") -> None:
        """Add a new connection, and close one if the peer, or the server, has too many.

        That is one with an incomplete request, else an idle one, else one whose client is reading its answer,
        each time the oldest in that state. If all others are being answered, it is the new one.
        """
        peer = _peer(connection.client)
        if self._peers[peer] >= self.limits.connections_per_peer:
            rivals = [each for each, its_peer in self._open.items() if its_peer == peer]
        elif len(self._open) >= self.most:
            rivals = list(self._open)
        else:
            rivals = []
        self._open[connection] = peer
        self._peers[peer] += 1
        if rivals:
            closed = _first_to_close(rivals)
            if closed is None:
                connection.cut_off(Closed.NO_ROOM)
            else:
                closed.cut_off(Closed.MADE_ROOM)

    def leave(self, connection: "Connection") -> None:
        """Remove a connection that is closed or about to be; does nothing if it was removed already."""
        peer = self._open.pop(connection, None)
        if peer is not None:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]

    def note(self, reason: Closed, now: float) -> None:
        """Count a connection that the server closed, and log the counts at most once a minute."""
        self.closed[reason] += 1
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            logger.warning(
                "connections were closed; counts since the start",
                extra={"closed": dict(self.closed)},
            )


class Connection(H11Protocol):
    """One connection, closed when it keeps the server waiting too long."""

    def __init__(self, connections: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._head_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self.phase = Phase.HEAD
        self.since = self.loop.time()
        """When the phase began, by the event loop's clock."""

    @property
    def has_unsent(self) -> bool:
        """Whether the peer has not read all of an answer."""
        return bool(self.transport.get_write_buffer_size())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._enter_phase(Phase.HEAD)
        self._connections.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        self._connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._follow()

    def shutdown(self) -> None:
        super().shutdown()
        self._follow()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.phase is not Phase.CLOSING and self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is not an HTTP request in the same shape as other errors, then close the connection.

        The status is 431 if the head is too large. uvicorn calls this; its own text is not sent.
        """
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            most = self._connections.limits.head_bytes
            self._answer(431, f"the head of the request is larger than {most} bytes")
        else:
            self._answer(400, "this is not an HTTP/1.1 request")
        self.transport.close()

    def cut_off(self, reason: Closed) -> None:
        """Close the connection at once and count the reason; answer first if a request has begun.

        The application, if it still reads the request, receives a disconnect.
        """
        self._connections.note(reason, self.loop.time())
        has_begun = self.phase is Phase.BODY or bool(self.conn.trailing_data[0])
        if reason is Closed.HEAD_TIMEOUT and has_begun:
            seconds = self._connections.limits.head_s
            self._answer(408, f"the head of the request did not arrive within {seconds:g} s")
        elif reason is Closed.NO_ROOM or (reason is Closed.MADE_ROOM and has_begun):
            self._answer(
                503, "this service has reached its limit of open connections; try again later"
            )
        if self.cycle is not None:
            # The application, if it still reads the request, receives a disconnect and sends nothing more.
            self.cycle.disconnected = True
        self._cancel_timers()
        self._connections.leave(self)
        self.phase = Phase.CLOSING
        self.transport.abort()

    def _follow(self) -> None:
        phase = self._current_phase()
        if phase is not self.phase:
            self._enter_phase(phase)

    def _current_phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.conn.their_state is h11.IDLE:
            is_new = self.cycle is None
            return Phase.HEAD if is_new or self.conn.trailing_data[0] else Phase.IDLE
        return Phase.BODY if self.conn.their_state is h11.SEND_BODY else Phase.ANSWER

    def _enter_phase(self, phase: Phase) -> None:
        self.phase = phase
        self.since = self.loop.time()
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if phase is Phase.HEAD:
            seconds = self._connections.limits.head_s
            self._head_timer = self.loop.call_later(seconds, self.cut_off, Closed.HEAD_TIMEOUT)
        elif phase is Phase.CLOSING:
            # A closed transport waits without limit until the peer has read what was written.
            self._expect_reading()

    def _expect_reading(self) -> None:
        if self._reading_timer is None and self.has_unsent:
            self._unsent = self.transport.get_write_buffer_size()
            seconds = self._connections.limits.request_s
            self._reading_timer = self.loop.call_later(seconds, self._check_reading)

    def _check_reading(self) -> None:
        self._reading_timer = None
        limits = self._connections.limits
        read = self._unsent - self.transport.get_write_buffer_size()
        if self.has_unsent and read < limits.request_s * limits.bytes_per_s:
            self.cut_off(Closed.ANSWER_NOT_READ)
        else:
            self._expect_reading()

    def _cancel_timers(self) -> None:
        for timer in (self._head_timer, self._reading_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._reading_timer = None

    def _answer(self, status: int, message: str) -> None:
        """Send an error, unless an answer has begun."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        retry_after_s = self._connections.limits.retry_after_s if status == 503 else None
        response = ApiError(status, message, retry_after_s=retry_after_s).response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")


def fit_connections(wanted: int, *, setting: str) -> tuple[int, list[str]]:
    """The number of connections that may be open, and lines for the log if it is below `wanted`.

    Half of the process's open-file limit stays free for other files. `setting` is the name that the user
    knows `wanted` by, for example `limits.connections`.
    """
    allowed = connections_allowed()
    if allowed is None or wanted <= allowed // 2:
        return wanted, []
    most = max(1, allowed // 2)
    notice = (
        f"{setting} is {wanted}, but only {most} may be open, half of this process's limit of open"
        f" files; raise `ulimit -n`, or lower {setting}"
    )
    return most, [notice]


def _first_to_close(connections: Iterable[Connection]) -> Connection | None:
    """The connection to close for another; None if all are being answered."""
    least: tuple[int, float] | None = None
    found: Connection | None = None
    for each in connections:
        if each.phase is Phase.ANSWER:
            continue
        # First those whose request is incomplete, then the idle, then those still reading an answer.
        is_asking = each.phase in (Phase.HEAD, Phase.BODY)
        rank = (0 if is_asking else 2 if each.has_unsent else 1, each.since)
        if least is None or rank < least:
            least, found = rank, each
    return found


def _peer(client: tuple[str, int] | None) -> str:
    """What `connections_per_peer` counts as one peer: an IPv4 address, or one customer's IPv6 network."""
    host = "" if client is None else client[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(int(address) >> (128 - _NETWORK_BITS))
