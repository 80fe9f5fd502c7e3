"""Hosting an application other than the service, with the same limits and logs."""

import pytest

from tests.engine.serving.host import hosted
from tests.http_client import client
from tests.patience import until


def test_any_application_can_be_hosted_and_each_request_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="engine.serving")
    with hosted() as host, client(host.url) as http:
        echoed = http.post("/echo", content=b"hello")
        missing = http.get("/sk-secret")
        until(lambda: host.answered.total() == 2, "both requests counted")

    assert (echoed.status_code, echoed.content, missing.status_code) == (200, b"hello", 404)
    assert dict(host.answered) == {("POST", "/echo", 200): 1, ("GET", "(unknown)", 404): 1}
    logged = [vars(record) for record in caplog.records if record.message == "request"]
    assert [(line["path"], line["status"]) for line in logged] == [
        ("/echo", 200),
        ("(unknown)", 404),
    ]


def test_a_body_over_the_limit_is_rejected_and_a_crash_reveals_nothing_of_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with hosted(request_bytes=1024) as host, client(host.url) as http:
        too_large = http.post("/echo", content=b"x" * 1025)
        crashed = http.post("/crash", content=b"sk-secret")

    assert too_large.status_code == 413
    assert too_large.json() == {
        "detail": {
            "error": "request_too_large",
            "message": "the request is larger than 1024 bytes",
        }
    }
    assert crashed.status_code == 500
    assert crashed.json()["detail"]["error"] == "internal_server_error"
    assert "sk-secret" not in crashed.text + caplog.text
    assert "RuntimeError at " in str([vars(record).get("error") for record in caplog.records])
