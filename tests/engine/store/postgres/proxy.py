"""A proxy in front of a PostgreSQL server that cuts a connection at a COMMIT."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Literal

_COMMIT = b"COMMIT"
_AT_ONCE = 65_536


class CommitCutter:
    """Forwards connections to a port of this machine; on request, it cuts the next one that commits."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.cuts = 0
        """How many connections it has cut."""
        self.cut: Literal["", "before", "after"] = ""
        """Whether the next COMMIT does not reach the server, or its answer does not reach the client."""

    def serve(self) -> None:
        """Accept connections until the proxy is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                Thread(target=self._relay, args=(client, server), daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if server in ready:
                    if not (received := server.recv(_AT_ONCE)):
                        return
                    client.sendall(received)
                if client in ready:
                    if not (sent := client.recv(_AT_ONCE)) or self._is_cut(sent, server):
                        return
                    server.sendall(sent)

    def _is_cut(self, sent: bytes, server: socket.socket) -> bool:
        if not self.cut or _COMMIT not in sent:
            return False
        if self.cut == "after":
            server.sendall(sent)
            # The server has committed when it answers.
            server.recv(_AT_ONCE)
        self.cut = ""
        self.cuts += 1
        return True


@contextmanager
def cutting_commits(server_port: int) -> Iterator[CommitCutter]:
    """A proxy for the server at this port."""
    proxy = CommitCutter(server_port)
    Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
