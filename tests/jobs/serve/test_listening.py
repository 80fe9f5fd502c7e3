"""The socket of the service."""

import socket

import pytest

from jobs.serve.config import Listen
from jobs.serve.server import _listening


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_answer_is_sent_at_once_and_not_held_back_for_an_acknowledgement(host: str) -> None:
    with (
        _listening(Listen(host=host, port=0)) as listener,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
