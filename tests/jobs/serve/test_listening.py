"""The socket of the service."""

import socket

import pytest

from engine.kinds import UsageError
from jobs.serve.config import Listen
from jobs.serve.server import _listening, _url


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_answer_is_sent_at_once_and_not_held_back_for_an_acknowledgement(host: str) -> None:
    with (
        _listening(Listen(host=host, port=0)) as listener,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_cannot_be_listened_on_is_told_with_what_to_do() -> None:
    with _listening(Listen(port=0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError) as in_use, _listening(Listen(port=port)):
            pass
    nowhere = Listen(host="nowhere.invalid", port=0, allow_remote=True)
    with pytest.raises(UsageError) as unknown, _listening(nowhere):
        pass
    elsewhere = Listen(host="192.0.2.1", port=0, allow_remote=True)
    with pytest.raises(UsageError) as not_here, _listening(elsewhere):
        pass

    assert str(in_use.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another listen.port, or"
        " stop what is there"
    )
    assert str(unknown.value).startswith("cannot listen on nowhere.invalid:0: ")
    assert "192.0.2.1:0: Cannot assign requested address; listen.host is" in str(not_here.value)


def test_addresses_of_version_6_are_listened_on() -> None:
    with (
        _listening(Listen(host="::1", port=0)) as listener,
        socket.create_connection(listener.getsockname()[:2]),
    ):
        assert _url(listener) == f"http://[::1]:{listener.getsockname()[1]}"
