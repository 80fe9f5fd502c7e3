"""Long evaluations: disconnects, the queue, shutdowns, kills."""

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from jobs.serve.config import read_config
from tests.http_client import get, post
from tests.jobs.chat.server import Asked, chat_server
from tests.jobs.serve.process import Held, asking, disconnecting, started
from tests.jobs.serve.running import Running, evaluation, make_key, service, write_config
from tests.patience import PATIENCE_S, until

SINGLE = "/singleturn_evaluate_system_prompt"


def gauge(base_url: str, name: str) -> float:
    [line] = [
        line
        for line in get(f"{base_url}/metrics").text.splitlines()
        if line.startswith(f"nightsweep_{name} ")
    ]
    return float(line.rpartition(" ")[2])


def until_gauge(base_url: str, name: str, value: int) -> None:
    until(lambda: gauge(base_url, name) == value, f"{name} to be {value}")


def generated(running: Running) -> int:
    answer = get(f"{running.base_url}/monthly_quota", headers=running.headers)
    tests = answer.json()["generated_tests"]
    assert isinstance(tests, int)
    return tests


def one_at_a_time(models_url: str) -> dict[str, Any]:
    return {"acme/kind-1": {"endpoint": {"base_url": models_url, "max_in_flight": 1}}}


@pytest.fixture
def held() -> Held:
    """Models that hold back the reply to the second question."""
    return Held(after=2)


def test_a_disconnect_stops_the_evaluation_and_an_equal_request_continues_it(
    tmp_path: Path, held: Held
) -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
        service(tmp_path, models=one_at_a_time(models.base_url)) as running,
    ):
        with disconnecting(running.base_url, running.key, SINGLE, evaluation()):
            assert held.reached.wait(PATIENCE_S)
        until_gauge(running.base_url, "evaluations_running", 0)
        spent, asked = generated(running), held.count
        held.let_go.set()

        with running.client() as client:
            again = client.post(SINGLE, json=evaluation())

        assert (spent, asked) == (1, 2)
        assert again.status_code == 200
        assert held.count == 2 + 2
        assert generated(running) == 3


def test_an_evaluation_that_takes_too_long_is_ended_and_releases_its_reservation(
    tmp_path: Path, held: Held
) -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
        service(
            tmp_path,
            allotment=3,
            models=one_at_a_time(models.base_url),
            limits={"evaluation_s": 0.2},
        ) as running,
        running.client() as client,
    ):
        late = client.post(SINGLE, json=evaluation())
        # This one gets no reply either, but it starts, which needs the whole allotment.
        again = client.post(SINGLE, json=evaluation())
        held.let_go.set()

    assert [answer.status_code for answer in (late, again)] == [500, 500]
    for answer in (late, again):
        assert answer.json()["detail"]["error"] == "evaluation_took_too_long"
        assert "longer than 0.2 s" in answer.json()["detail"]["message"]


def test_a_rate_limit_of_a_model_is_passed_on_after_the_last_attempt(
    tmp_path: Path,
) -> None:
    def throttled(asked: Asked) -> tuple[int, Any]:
        return 429, {"error": {"message": "slow down"}}

    with service(tmp_path, throttled, limits={"attempts": 1, "retry_after_s": 5}) as running:
        with running.client() as client:
            answer = client.post(SINGLE, json=evaluation())
        assert generated(running) == 0

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert "slow down" in answer.json()["detail"]["message"]


def test_a_full_queue_is_answered_429_with_retry_after(tmp_path: Path) -> None:
    held = Held(after=1)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
        service(
            tmp_path,
            models=one_at_a_time(models.base_url),
            limits={"evaluations": 1, "queue": 1, "retry_after_s": 7},
        ) as running,
        asking(running.base_url, running.key, SINGLE, evaluation()) as first,
    ):
        until_gauge(running.base_url, "evaluations_running", 1)
        with asking(running.base_url, running.key, SINGLE, evaluation()) as second:
            until_gauge(running.base_url, "evaluations_waiting", 1)
            with running.client() as client:
                third = client.post(SINGLE, json=evaluation())
            held.let_go.set()

    assert (third.status_code, third.headers["retry-after"]) == (429, "7")
    assert [answer.status_code for answer in (*first, *second)] == [200, 200]


def test_a_disconnect_in_the_queue_frees_the_place_and_the_reservation(tmp_path: Path) -> None:
    held = Held(after=1)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
        service(
            tmp_path,
            # For two evaluations, so a third is refused while one runs and one waits.
            allotment=6,
            models=one_at_a_time(models.base_url),
            limits={"evaluations": 1, "queue": 1},
        ) as running,
        asking(running.base_url, running.key, SINGLE, evaluation()) as first,
    ):
        assert held.reached.wait(PATIENCE_S)
        with disconnecting(running.base_url, running.key, SINGLE, evaluation()):
            until_gauge(running.base_url, "evaluations_waiting", 1)
        until_gauge(running.base_url, "evaluations_waiting", 0)
        with asking(running.base_url, running.key, SINGLE, evaluation()) as third:
            until_gauge(running.base_url, "evaluations_waiting", 1)
            held.let_go.set()

    assert [answer.status_code for answer in (*first, *third)] == [200, 200]
    assert held.count == 6


def test_a_shutdown_without_grace_ends_running_evaluations(tmp_path: Path) -> None:
    held = Held(after=1)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
    ):
        file = write_config(tmp_path, models.base_url, {"limits": {"grace_s": 0}})
        key = make_key(read_config(file), "tester")
        with started(file) as running, asking(running.base_url, key, SINGLE, evaluation()) as got:
            assert held.reached.wait(PATIENCE_S)
            running.process.send_signal(signal.SIGHUP)
            until(lambda: bool(got), "the answer")
            held.let_go.set()
            code, _ = running.end()

    assert code == 0
    assert [answer.status_code for answer in got] == [503]


def test_after_a_kill_no_answered_question_is_sent_or_charged_again(tmp_path: Path) -> None:
    held = Held(after=3)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
    ):
        file = write_config(tmp_path, models.base_url, {})
        # Just enough: the second evaluation needs what the killed service had reserved.
        key = make_key(read_config(file), "tester", allotment=3)
        headers = {"cbl-api-key": key}
        with started(file) as first, asking(first.base_url, key, SINGLE, evaluation()) as broken:
            quota = f"{first.base_url}/monthly_quota"
            until(
                lambda: get(quota, headers=headers).json()["generated_tests"] == 2,
                "two charged tests",
            )
            first.process.kill()
        held.let_go.set()
        with started(file) as second:
            again = post(f"{second.base_url}{SINGLE}", json=evaluation(), headers=headers)
            quota = f"{second.base_url}/monthly_quota"
            used = get(quota, headers=headers).json()["generated_tests"]

    assert isinstance(broken[0], httpx.HTTPError)
    assert again.status_code == 200
    # Only the question in flight is sent again, not the two before it.
    assert held.count == 3 + 1
    assert used == 3


def test_the_log_has_key_names_and_paths_but_no_content(tmp_path: Path) -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(Held(after=100))) as models,
    ):
        file = write_config(tmp_path, models.base_url, {})
        key = make_key(read_config(file), "tester")
        with started(file) as running:
            post(
                f"{running.base_url}/v1{SINGLE}?secret=sk-in-the-query",
                json=evaluation(system_prompt="a secret prompt"),
                headers={"cbl-api-key": key},
            )
            get(f"{running.base_url}/sk-in-the-path")
            running.process.send_signal(signal.SIGINT)
            code, log = running.end()

    assert code == 0
    evaluated, unknown = [line for line in log if line["event"] == "request"]
    assert evaluated["path"] == f"/v1{SINGLE}"
    assert (evaluated["method"], evaluated["status"], evaluated["key"]) == ("POST", 200, "tester")
    assert evaluated["duration_ms"] > 0
    assert (unknown["path"], unknown["status"], unknown["key"]) == ("(unknown)", 404, None)
    for secret in (key, "secret prompt", "sk-in", "exams"):
        assert secret not in str(log)
