"""The memory limit for bodies, and which body is refused when it is reached."""

import json
from contextlib import ExitStack

from tests.engine.serving.host import Host, hosted
from tests.http_client import connected, post, rest
from tests.patience import until

LIMITS = {"request_bytes": 4096, "bodies_bytes": 8192, "request_s": 3600}
LENGTH = 4000
HEAD = f"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {LENGTH}\r\n\r\n"
ALL_BUT_ONE_BYTE = HEAD.encode() + b"x" * (LENGTH - 1)


def expect(host: Host, *, bytes_held: int, bodies: int) -> None:
    until(
        lambda: (host.budget.held, host.budget.refused) == (bytes_held, bodies),
        f"{bytes_held} bytes held and {bodies} bodies refused",
    )


def test_bodies_that_stop_arriving_do_not_block_others_and_stay_within_the_limit() -> None:
    with hosted(**LIMITS) as host, ExitStack() as stack:
        for number in range(1, 7):
            stack.enter_context(connected(host.url, ALL_BUT_ONE_BYTE))
            expect(host, bytes_held=min(number, 2) * (LENGTH - 1), bodies=max(0, number - 2))
        answer = post(f"{host.url}/echo", content=b"x" * LENGTH)

    assert answer.status_code == 200


def test_the_body_that_has_been_arriving_for_the_longest_is_refused_first() -> None:
    with (
        hosted(**LIMITS) as host,
        connected(host.url, ALL_BUT_ONE_BYTE) as first,
    ):
        until(lambda: host.budget.held == LENGTH - 1, "the first body")
        with connected(host.url, ALL_BUT_ONE_BYTE) as second:
            until(lambda: host.budget.held == 2 * (LENGTH - 1), "the second body")
            with connected(host.url, ALL_BUT_ONE_BYTE):
                refused = rest(first)
                second.sendall(b"x")
                finished = rest(second)

    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 10" in head
    assert json.loads(body)["detail"] == {
        "error": "service_unavailable",
        "message": "the bodies of all requests to this service exceed 8192 bytes together;"
        " try again later",
    }
    assert finished.startswith(b"HTTP/1.1 200")
