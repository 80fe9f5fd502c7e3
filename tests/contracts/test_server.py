"""The contract server itself: honest answers keep the contract, and every breach is counted."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.contracts.contract import contract
from tests.contracts.process import ContractServerProcess
from tests.contracts.server import EVALUATIONS, ContractServer
from tests.http_client import async_client

KEYS = {"cbl-api-key": "k", "openai-api-key": "o"}


@pytest.fixture
async def server() -> AsyncIterator[ContractServer]:
    async with ContractServer() as running:
        yield running


@pytest.fixture
async def client(server: ContractServer) -> AsyncIterator[httpx.AsyncClient]:
    async with async_client(server.url, KEYS) as opened:
        yield opened


def body_for(path: str, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"threshold": 0.5, "test_case_groups": ["self_harm"]}
    if "single" in path:
        body |= {"variations": 2, "maximum_iteration_layers": 1}
    else:
        body |= {"max_turns": 4}
    if "finetune" in path:
        body |= {"model_name": "ft:model"}
    else:
        body |= {"openrouter_model_name": "a/model", "system_prompt": "Be kind."}
    return body | changes


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("path", EVALUATIONS)
async def test_every_evaluation_keeps_the_contract(
    server: ContractServer, client: httpx.AsyncClient, path: str, prefix: str
) -> None:
    answer = await client.post(prefix + path, json=body_for(path))

    assert contract().answer_problems("POST", path, answer.status_code, answer.json()) == []
    assert answer.status_code == 200
    assert server.violations == []


@pytest.mark.parametrize(
    "path", ["/ping", "/version", "/validate_api_key", "/monthly_quota", "/test_case_groups"]
)
async def test_every_question_keeps_the_contract(
    server: ContractServer, client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)

    assert contract().answer_problems("GET", path, answer.status_code, answer.json()) == []
    assert answer.status_code == 200
    assert server.violations == []


@pytest.mark.parametrize(
    ("settings", "changes", "status"),
    [
        ({"keys": ["other"]}, {}, 401),
        ({"allotted": 3}, {}, 403),
        ({"unknown_models": ["a/model"]}, {}, 404),
        ({}, {"test_case_groups": ["nope"]}, 404),
        ({}, {"threshold": 2}, 422),
        ({}, {"test_case_groups": ["self_harm", "self_harm"]}, 422),
    ],
)
async def test_every_refusal_keeps_the_contract(
    server: ContractServer,
    client: httpx.AsyncClient,
    settings: dict[str, Any],
    changes: dict[str, Any],
    status: int,
) -> None:
    server.configure(**settings)
    path = EVALUATIONS[0]

    answer = await client.post(path, json=body_for(path, **changes))

    assert answer.status_code == status
    assert contract().answer_problems("POST", path, status, answer.json()) == []
    assert server.state.tests == 0


async def test_a_request_that_breaks_the_contract_is_counted_and_reported(
    server: ContractServer, client: httpx.AsyncClient
) -> None:
    path = EVALUATIONS[0]

    del client.headers["cbl-api-key"]
    answer = await client.post(path, json=body_for(path, variations=6))

    assert answer.status_code == 422
    assert server.state.violation_count == 2
    assert "cbl-api-key" in server.violations[0]
    assert "variations" in server.violations[1]


@pytest.mark.parametrize("path", EVALUATIONS)
async def test_the_same_request_has_the_same_answer_and_lower_thresholds_fail_fewer(
    client: httpx.AsyncClient, path: str
) -> None:
    high, again, low = [
        await client.post(path, json=body_for(path, threshold=threshold))
        for threshold in (0.8, 0.8, 0.3)
    ]

    assert high.content == again.content
    assert 0 < low.json()["total_failed"] < high.json()["total_failed"]


async def test_layers_and_variations_cost_tests(
    server: ContractServer, client: httpx.AsyncClient
) -> None:
    path = EVALUATIONS[0]
    costs = []
    for layers, variations in ((0, 1), (1, 1), (1, 5), (2, 5)):
        before = server.state.tests
        body = body_for(path, maximum_iteration_layers=layers, variations=variations)
        await client.post(path, json=body)
        costs.append(server.state.tests - before)

    assert costs == sorted(set(costs))


async def test_faults_strike_what_they_match_and_run_out(
    server: ContractServer, client: httpx.AsyncClient
) -> None:
    path = EVALUATIONS[0]
    server.fail_next(2, status=503, retry_after="4", model="bad/model")

    statuses = [
        (await client.post(path, json=body_for(path, openrouter_model_name=model))).status_code
        for model in ("a/model", "bad/model", "bad/model", "bad/model")
    ]

    assert statuses == [200, 503, 503, 200]
    assert [each.status for each in server.requests] == statuses


async def test_a_lost_answer_is_charged(server: ContractServer, client: httpx.AsyncClient) -> None:
    path = EVALUATIONS[0]
    server.play("lost_answer")

    with pytest.raises(httpx.TransportError):
        await client.post(path, json=body_for(path))

    assert server.state.tests > 0
    assert server.requests[0].status is None


async def test_random_faults_follow_their_seed(
    server: ContractServer, client: httpx.AsyncClient
) -> None:
    path = EVALUATIONS[0]
    rounds = []
    for _ in range(2):
        server.configure(fault_probability=0.5, fault_kinds=["status"], fault_seed=7)
        answers = [await client.post(path, json=body_for(path)) for _ in range(12)]
        rounds.append([answer.status_code for answer in answers])

    assert rounds[0] == rounds[1]
    assert set(rounds[0]) == {200, 503}


async def test_a_process_of_its_own_is_commanded_over_http() -> None:
    path = EVALUATIONS[0]
    async with (
        ContractServerProcess("--allotted", "1000", "--key", "k") as server,
        async_client(server.url, KEYS) as client,
    ):
        server.fail_next(status=500)
        with pytest.raises(ValueError, match="no fault"):
            server.play("nonsense")
        statuses = [(await client.post(path, json=body_for(path))).status_code for _ in range(2)]
        await server.wait_received_async(2)
        state = server.state()
        log = server.requests()

    assert statuses == [500, 200]
    assert state["received"] == len(log) == 2
    assert state["violation_count"] == 0
    assert state["max_in_flight"] == 1
    assert len(state["digests"]) == 1
    assert log[0]["monotonic_s"] < log[1]["monotonic_s"]
