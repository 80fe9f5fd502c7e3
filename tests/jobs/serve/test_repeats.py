"""Repeats over HTTP: sent to a service that supports them, where each makes its own random choices."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine import Sweep, open_engine
from jobs.circuit_breaker_labs.schema import REPEAT_HEADER
from tests.jobs.chat.server import Asked, ChatServer, chat_server
from tests.jobs.serve.running import GROUP, MODEL, Running, conversation, evaluation

SINGLE = "/singleturn_evaluate_system_prompt"
MULTI = "/multiturn_evaluate_system_prompt"


@pytest.fixture
def client(shared_service: Running) -> Iterator[httpx.Client]:
    with shared_service.client() as opened:
        yield opened


def seeds(models: ChatServer, client: httpx.Client, path: str, **headers: str) -> list[int]:
    """The seeds that one evaluation sends, in a canonical order."""
    before = len(models.asked)
    body = evaluation() if path == SINGLE else conversation()
    assert client.post(path, json=body, headers=headers).status_code == 200
    return sorted(asked.body["seed"] for asked in models.asked[before:])


@pytest.mark.parametrize("path", [SINGLE, MULTI])
def test_a_repeat_makes_its_own_random_choices_and_the_same_ones_again(
    shared_service: Running, client: httpx.Client, path: str
) -> None:
    models = shared_service.models

    default, again = seeds(models, client, path), seeds(models, client, path)
    first = seeds(models, client, path, **{REPEAT_HEADER: "1"})
    second = seeds(models, client, path, **{REPEAT_HEADER: "2"})

    assert default == again == first
    assert set(first).isdisjoint(second)


@pytest.mark.parametrize("written", ["0", "-1", "10001", "two", "1.5", ""])
def test_an_invalid_repeat_is_a_validation_error(client: httpx.Client, written: str) -> None:
    answer = client.post(SINGLE, json=evaluation(), headers={REPEAT_HEADER: written})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", REPEAT_HEADER]


def test_the_version_lists_the_extension_for_repeats(client: httpx.Client) -> None:
    assert REPEAT_HEADER in client.get("/version").json()["extensions"]


def respond(versions: list[tuple[int, Any]], asked: Asked) -> tuple[int, Any]:
    """An API that passes every test, with one of `versions` for each request for its version."""
    if asked.line.startswith("GET /v1/version"):
        return versions.pop(0)
    return 200, {"total_passed": 3, "total_failed": 0, "failed_results": []}


KNOWS = 200, {"version": "1.0.8", "extensions": ["else", REPEAT_HEADER]}
ODD = 200, {"version": "1.0.8", "extensions": "all of them"}
PAGE = 200, "<html>"
LOST, REFUSED = (404, {"detail": "Not Found"}), (403, "<html>")


@pytest.mark.parametrize(
    ("versions", "repeats"),
    [
        ([KNOWS], [None, "2", "3"]),
        ([REFUSED, KNOWS], [None, "2", "3"]),
        ([LOST, ODD, KNOWS], [None, "2", "3"]),
        ([(200, {"version": "1.0.8", "extensions": []})], [None] * 3),
        ([(200, {"version": "1.0.8"})], [None] * 3),
        ([ODD] * 3, [None] * 3),
        ([PAGE] * 3, [None] * 3),
        ([LOST] * 3, [None] * 3),
    ],
)
async def test_repeats_are_sent_only_to_a_service_that_lists_the_extension(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    versions: list[tuple[int, Any]],
    repeats: list[str | None],
) -> None:
    monkeypatch.setenv("SOME_KEY", "a-key-of-some-service")
    left = list(versions)
    async with (
        chat_server(lambda asked: respond(left, asked)) as api,
        open_engine(tmp_path / "store.db") as engine,
    ):
        submitted = await engine.submit(sweep(api.base_url))
        status = await submitted.execute()
        rows = [asdict(row) async for row in submitted.rows()]

    assert status.cells_done == len(rows) == 3
    evaluated = [asked for asked in api.asked if asked.line.startswith("POST")]
    sent = [asked.headers.get(REPEAT_HEADER) for asked in evaluated]
    assert sorted(sent, key=str) == sorted(repeats, key=str)
    questions = [asked for asked in api.asked if "version" in asked.line]
    assert left == []
    assert all("cbl-api-key" not in asked.headers for asked in questions)


def sweep(base_url: str) -> Sweep:
    return Sweep.parse(
        {
            "name": "thrice",
            "service": {
                "kind": "circuit-breaker-labs",
                "base_url": base_url,
                "api_key": "env:SOME_KEY",
            },
            "evaluation": "single_turn",
            "matrix": {
                "models": [MODEL],
                "prompts": [{"name": "bare", "text": "Be kind."}],
                "groups": [GROUP],
                "thresholds": [0.5],
                "repeats": 3,
            },
        }
    )
