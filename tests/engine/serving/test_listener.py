"""The socket that a server listens on."""

import socket
from contextlib import AbstractContextManager

import pytest

from engine.core.errors import UsageError
from engine.serving.listener import open_listener, url_of


def listening(host: str, port: int) -> AbstractContextManager[socket.socket]:
    return open_listener(host, port, host_setting="listen.host", port_setting="listen.port")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_answer_is_sent_at_once_and_not_held_back_for_an_acknowledgement(host: str) -> None:
    with (
        listening(host, 0) as listener,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_cannot_be_listened_on_is_told_with_what_to_do() -> None:
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError) as in_use, listening("127.0.0.1", port):
            pass
    with pytest.raises(UsageError) as unknown, listening("nowhere.invalid", 0):
        pass
    with pytest.raises(UsageError) as not_here, listening("192.0.2.1", 0):
        pass

    assert str(in_use.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another listen.port, or"
        " stop what is there"
    )
    assert str(unknown.value).startswith("cannot listen on nowhere.invalid:0: ")
    assert "192.0.2.1:0: Cannot assign requested address; listen.host is" in str(not_here.value)


def test_addresses_of_version_6_are_listened_on() -> None:
    with (
        listening("::1", 0) as listener,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
