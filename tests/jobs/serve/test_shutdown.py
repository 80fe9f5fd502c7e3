"""SIGTERM, SIGHUP and Ctrl-C reject waiting requests and let running ones finish; a second signal ends them."""

import signal
import socket
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal

from jobs.serve.config import read_config
from tests.http_client import client, get, post
from tests.jobs.chat.server import chat_server
from tests.jobs.serve.process import Held, asking, started
from tests.jobs.serve.running import by_rule, evaluation, make_key, write_config
from tests.jobs.serve.test_long_evaluations import SINGLE, one_at_a_time, until_gauge
from tests.jobs.serve.test_same_rows import by_rule_or_healthy
from tests.patience import PATIENCE_S, until

HEALTH = "/redteam/model-health"


def test_a_shutdown_rejects_waiting_requests_and_lets_running_ones_finish(
    tmp_path: Path,
) -> None:
    held = Held(after=1, answer=by_rule_or_healthy)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
    ):
        target = {"model_endpoint_url": models.base_url, "model_name": "any"}
        question = {"target_model_configuration": target}
        limits = {"evaluations": 1, "queue": 5, "retry_after_s": 7, "grace_s": PATIENCE_S}
        file = write_config(tmp_path, models.base_url, {"limits": limits})
        key = make_key(read_config(file), "tester", allotment=9)
        with started(file) as running:
            url = running.base_url
            with (
                asking(url, key, HEALTH, question) as health,
                asking(url, key, SINGLE, evaluation()) as first,
            ):
                assert held.reached.wait(PATIENCE_S)
                until_gauge(url, "evaluations_running", 1)
                with (
                    asking(url, key, SINGLE, evaluation()) as second,
                    asking(url, key, SINGLE, evaluation()) as third,
                ):
                    until_gauge(url, "evaluations_waiting", 2)
                    running.process.send_signal(signal.SIGTERM)
                # They have their answers while the first one is still running.
                rejected = [*second, *third]
                assert first == health == []
                held.let_go.set()
            code, log = running.end()

    assert [answer.status_code for answer in rejected] == [503, 503]
    assert [answer.headers["retry-after"] for answer in rejected] == ["7", "7"]
    assert rejected[0].json()["detail"]["error"] == "service_unavailable"
    assert [answer.status_code for answer in first] == [200]
    assert [answer.json()["error"] for answer in health] == [""]
    assert code == 0
    answered = [line["status"] for line in log if line.get("path") == SINGLE]
    assert answered == [503, 503, 200]


def test_a_second_signal_ends_the_service_and_the_next_start_repairs_the_usage(
    tmp_path: Path,
) -> None:
    held = Held(after=2)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
    ):
        changes = {"models": one_at_a_time(models.base_url), "limits": {"grace_s": 3600}}
        file = write_config(tmp_path, models.base_url, changes)
        # Just enough: the second evaluation needs what the first one reserved.
        key = make_key(read_config(file), "tester", allotment=3)
        with started(file) as first, asking(first.base_url, key, SINGLE, evaluation()) as cut:
            assert held.reached.wait(PATIENCE_S)
            first.process.send_signal(signal.SIGTERM)
            until(lambda: refuses(first.base_url, key), "the service to refuse what is new")
            first.process.send_signal(signal.SIGINT)
            code, log = first.end()
        held.let_go.set()
        with started(file) as second, asking(second.base_url, key, SINGLE, evaluation()) as again:
            until(lambda: bool(again), "the answer")
            quota = get(f"{second.base_url}/monthly_quota", headers={"cbl-api-key": key})

    assert code == 0
    assert [answer.status_code for answer in cut] == [503]
    assert "retry-after" in cut[0].headers
    assert [answer.status_code for answer in again] == [200]
    # The first question was answered and paid for; the second, which was interrupted, is sent again.
    assert held.count == 2 + 2
    assert quota.json()["generated_tests"] == 3
    assert not [line for line in log if line["level"] == "error"]


def refuses(base_url: str, key: str) -> bool:
    """Whether the service is shutting down; before that, a running evaluation has reserved all tests of the key."""
    answer = post(f"{base_url}{SINGLE}", json=evaluation(), headers={"cbl-api-key": key})
    assert answer.status_code in (429, 503)
    return answer.status_code == 503


def test_an_idle_service_ends_at_once_despite_open_connections(tmp_path: Path) -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(by_rule)) as models,
    ):
        file = write_config(tmp_path, models.base_url, {"limits": {"grace_s": 3600}})
        with started(file) as running:
            url = httpx.URL(running.base_url)
            address = (url.host, url.port or 0)
            with (
                socket.create_connection(address, timeout=PATIENCE_S) as silent,
                socket.create_connection(address, timeout=PATIENCE_S) as half_head,
                socket.create_connection(address, timeout=PATIENCE_S) as half,
                client(running.base_url) as idle,
            ):
                half_head.sendall(b"POST /ping HTTP/1.1\r\nhost: x\r\nx-half: ")
                half.sendall(b"POST /ping HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
                assert idle.get("/ping").status_code == 200
                running.process.send_signal(signal.SIGTERM)
                code, log = running.end()
                assert silent.recv(1) == half_head.recv(1) == b""
                assert half.recv(12) == b"HTTP/1.1 503"

    assert code == 0
    assert not [line for line in log if line["level"] == "error"]
