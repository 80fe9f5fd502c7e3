"""Limits on requests, crashes, and metrics."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.serve.ledger import Ledger
from tests.http_client import connected
from tests.jobs.serve.running import Running, evaluation, service
from tests.patience import until

SINGLE = "/singleturn_evaluate_system_prompt"
HALF_BODY = f"POST {SINGLE} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{".encode()


def test_a_request_that_is_too_large_is_refused_with_or_without_content_length(
    tmp_path: Path,
) -> None:
    with service(tmp_path, limits={"request_bytes": 2000}) as running, running.client() as client:
        declared = client.post(SINGLE, json=evaluation(system_prompt="x" * 3000))
        streamed = client.post(SINGLE, content=(b"x" * 500 for _ in range(10)))
        small = client.post(SINGLE, json=evaluation())

    assert (declared.status_code, streamed.status_code, small.status_code) == (413, 413, 200)
    assert declared.json()["detail"]["error"] == "request_too_large"


def test_a_request_that_never_ends_times_out(tmp_path: Path) -> None:
    with (
        service(tmp_path, limits={"request_s": 0.2}) as running,
        connected(running.base_url, HALF_BODY) as connection,
    ):
        answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 408")


def test_a_client_that_disconnects_while_sending_is_logged_with_499(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="engine.serving")
    with service(tmp_path) as running:
        with connected(running.base_url, HALF_BODY):
            pass
        until(
            lambda: any(record.message == "request" for record in caplog.records),
            "the request's line in the log",
        )

    [logged] = [vars(record) for record in caplog.records if record.message == "request"]
    assert (logged["method"], logged["path"], logged["status"]) == ("POST", "(unknown)", 499)


def test_a_crash_is_answered_in_the_contract_s_format_and_logged_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("with a secret in it")

    with service(tmp_path) as running, running.client() as client:
        monkeypatch.setattr(Ledger, "find_key", crash)
        answer = client.get("/monthly_quota")

    assert answer.status_code == 500
    assert answer.json()["detail"]["error"] == "internal_server_error"
    [crashed] = [record for record in caplog.records if record.message == "a request crashed"]
    assert "RuntimeError at " in str(vars(crashed)["error"])
    assert "secret" not in answer.text + str(vars(crashed)["error"])


def test_metrics_count_requests_by_known_paths(shared_service: Running) -> None:
    with shared_service.client() as client:
        client.get("/v1/ping")
        client.get("/nowhere/sk-secret")
        metrics = client.get("/metrics")

    assert metrics.headers["content-type"].startswith("text/plain")
    line = 'nightsweep_requests_total{method="GET",path="/v1/ping",status="200"} 1.0'
    assert line in metrics.text
    assert 'path="(unknown)",status="404"' in metrics.text
    assert "sk-secret" not in metrics.text
    assert "tester" not in metrics.text


def test_metrics_can_be_parsed_by_prometheus(shared_service: Running) -> None:
    with shared_service.client() as client:
        client.post(SINGLE, json=evaluation())
        families = {
            family.name: family
            for family in text_string_to_metric_families(client.get("/metrics").text)
        }

    kinds = {name: family.type for name, family in families.items() if "_created" not in name}
    assert kinds == {
        "nightsweep_requests": "counter",
        "nightsweep_request_seconds": "histogram",
        "nightsweep_evaluations_running": "gauge",
        "nightsweep_evaluations_waiting": "gauge",
        "nightsweep_tests_answered": "counter",
        "nightsweep_connections_open": "gauge",
        "nightsweep_connections_closed": "counter",
        "nightsweep_bodies_bytes": "gauge",
        "nightsweep_bodies_refused": "counter",
    }
    assert all(family.documentation for family in families.values())
    [tests] = families["nightsweep_tests_answered"].samples
    assert (tests.name, tests.value) == ("nightsweep_tests_answered_total", 3)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", ""])
def test_a_body_of_another_content_type_is_refused_with_what_to_send(
    shared_service: Running, kind: str
) -> None:
    body = json.dumps(evaluation())
    with shared_service.client(**{"content-type": kind}) as client:
        answer = client.post(SINGLE, content=body)

    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert problem["loc"] == ["body"]
    assert "content-type: application/json" in problem["msg"]
