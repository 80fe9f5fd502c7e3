"""The service applies the memory limit for bodies; tests/engine/serving tests the limit itself."""

from pathlib import Path

from tests.http_client import connected, get
from tests.jobs.serve.process import Held, asking
from tests.jobs.serve.running import Running, evaluation, service
from tests.patience import PATIENCE_S, until

SINGLE = "/singleturn_evaluate_system_prompt"
LIMITS = {"request_bytes": 4096, "bodies_bytes": 8192, "request_s": 3600}
LENGTH = 4000
HEAD = f"POST {SINGLE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {LENGTH}\r\n\r\n"
ALL_BUT_ONE_BYTE = HEAD.encode() + b"x" * (LENGTH - 1)
LONG_PROMPT = evaluation(system_prompt="x" * 2500)


def metric(running: Running, name: str) -> int:
    metrics = get(f"{running.base_url}/metrics").text
    [line] = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return int(float(line.removeprefix(name)))


def held_bytes(running: Running) -> int:
    return metric(running, "nightsweep_bodies_bytes")


def refused_bodies(running: Running) -> int:
    return metric(running, "nightsweep_bodies_refused_total")


def test_bodies_of_running_evaluations_are_kept_and_a_refused_one_costs_nothing(
    tmp_path: Path,
) -> None:
    models = Held(after=1)
    limits = {**LIMITS, "bodies_bytes": 4096}
    with service(tmp_path, models, limits=limits) as running, running.client() as client:
        with asking(running.base_url, running.key, SINGLE, LONG_PROMPT) as got:
            assert models.reached.wait(PATIENCE_S)
            client.headers["cbl-api-key"] = running.another_key("other")
            before = client.get("/monthly_quota").json()
            answer = client.post(SINGLE, json=LONG_PROMPT)
            small = client.get("/ping")
            after = client.get("/monthly_quota").json()
            models.let_go.set()
        again = client.post(SINGLE, json=LONG_PROMPT)
        assert refused_bodies(running) == 1
        until(lambda: held_bytes(running) == 0, "the end of the requests")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert answer.json()["detail"]["error"] == "service_unavailable"
    assert before == after
    assert small.status_code == 200
    assert [each.status_code for each in got] == [200]
    assert again.status_code == 200


def test_every_request_releases_its_bytes_however_it_ends(tmp_path: Path) -> None:
    with service(tmp_path, limits=LIMITS) as running:
        with connected(running.base_url, ALL_BUT_ONE_BYTE):
            until(lambda: held_bytes(running) == LENGTH - 1, "the body")
        until(lambda: held_bytes(running) == 0, "the end of a client that disconnected")
        with running.client() as client:
            too_large = client.post(SINGLE, content=(b"x" * 500 for _ in range(10)))
            mistaken = client.post(SINGLE, json={"x": "x" * 2000})
            nowhere = client.post("/nowhere", json={"x": "x" * 2000})
        until(lambda: held_bytes(running) == 0, "the end of the requests")

    assert (too_large.status_code, mistaken.status_code, nowhere.status_code) == (413, 422, 404)
