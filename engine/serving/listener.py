"""The socket that a server listens on."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from engine.core.errors import UsageError

BACKLOG = 2048
"""Connections that may wait in the kernel until the event loop accepts them."""


@contextmanager
def open_listener(
    host: str, port: int, *, host_setting: str, port_setting: str
) -> Iterator[socket.socket]:
    """Open a listening TCP socket, closed at the end of the block.

    `port` 0 takes a free port. `host_setting` and `port_setting` are the names that the user knows the two
    by, for example `listen.port`. Raises UsageError, saying which to change, if it cannot listen there.
    """
    try:
        [found, *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # All parts of the address: a link-local IPv6 address is incomplete without its zone.
        listener = socket.create_server(
            cast("tuple[str, int]", found[4]), family=found[0], backlog=BACKLOG
        )
    except (OSError, UnicodeError) as error:
        # The system's message without its end in brackets, which repeats the address.
        why = str(getattr(error, "strerror", "not a valid host name")).partition(" (")[0]
        shown = f"[{host}]" if ":" in host else host
        advice = _advice(error, host_setting, port_setting)
        raise UsageError(f"cannot listen on {shown}:{port}: {why}; {advice}") from None
    with listener:
        # Accepted connections inherit this. Without it the end of each answer waits some 40 ms for the
        # client's acknowledgement; asyncio does not recognise these sockets as TCP.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def url_of(listener: socket.socket) -> str:
    """The base URL of a listening socket, with its real port and an IPv6 address in brackets."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _advice(error: OSError | UnicodeError, host_setting: str, port_setting: str) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"choose another {port_setting}, or stop the program that uses this one"
    if number == errno.EACCES:
        return f"choose a {port_setting} above 1023"
    return f"set {host_setting} to an address of this machine, such as 127.0.0.1 or ::1, or to its name"
