"""The socket that a server listens on."""

import socket
from contextlib import AbstractContextManager

import pytest

from engine.core.errors import UsageError
from engine.serving.listener import open_listener, url_of


def listen(host: str, port: int) -> AbstractContextManager[socket.socket]:
    return open_listener(host, port, host_setting="listen.host", port_setting="listen.port")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_answer_is_sent_at_once_without_waiting_for_an_acknowledgement(host: str) -> None:
    with (
        listen(host, 0) as listener,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_unusable_address_is_an_error_that_says_what_to_change() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError) as in_use, listen("127.0.0.1", port):
            pass
    with pytest.raises(UsageError) as unknown, listen("nowhere.invalid", 0):
        pass
    with pytest.raises(UsageError) as not_here, listen("192.0.2.1", 0):
        pass

    assert str(in_use.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another listen.port, or"
        " stop the program that uses this one"
    )
    assert str(unknown.value).startswith("cannot listen on nowhere.invalid:0: ")
    assert "192.0.2.1:0: Cannot assign requested address; set listen.host to" in str(not_here.value)


def test_ipv6_addresses_can_be_listened_on() -> None:
    with (
        listen("::1", 0) as listener,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
