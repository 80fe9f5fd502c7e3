"""A sweep gives the same rows in process and over the service, in every format of its answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine import RunState, Status, Sweep, open_engine
from tests.jobs.chat.server import Asked
from tests.jobs.serve.running import (
    COLD_MODEL,
    GROUP,
    MODEL,
    OTHER_GROUP,
    PROMPT,
    Running,
    by_rule,
    service,
)

_HEALTH_QUESTION = "France"
_SHAPES = {"1.0.8": [GROUP], "1.0.10": [GROUP], "1.0.11": [GROUP, OTHER_GROUP]}
"""The groups of the sweep in each shape of answers."""
_MATRICES: dict[str, dict[str, Any]] = {
    "single_turn": {
        "thresholds": [0.3, 0.7],
        "variations": [2],
        "maximum_iteration_layers": [0, 1],
    },
    "multi_turn": {"thresholds": [0.3, 0.7], "max_turns": [2, 4]},
}


def by_rule_or_healthy(asked: Asked) -> tuple[int, Any]:
    """The models' rule; the question of model health comes without a seed."""
    if asked.body is not None and "seed" not in asked.body:
        return by_rule(Asked(asked.line, asked.headers, {**asked.body, "seed": 0}))
    return by_rule(asked)


@pytest.fixture(scope="module", params=list(_SHAPES))
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp(f"rows-{request.param}")
    with service(folder, by_rule_or_healthy, answers=request.param) as started:
        yield started


@pytest.fixture(scope="module")
def rows_in_process() -> dict[tuple[str, ...], tuple[Status, list[dict[str, Any]]]]:
    """The ends and rows of sweeps in process, by evaluation and groups: they do not depend on a service's shape."""
    return {}


def sweep(
    evaluation: str, served: Mapping[str, Any], groups: Sequence[str] = (GROUP,), **changes: Any
) -> Sweep:
    """A sweep over both models and some groups."""
    return Sweep.parse(
        {
            "name": "same",
            "service": dict(served),
            "evaluation": evaluation,
            "matrix": {
                "models": [MODEL, COLD_MODEL],
                "prompts": [{"name": "bare", "text": PROMPT}],
                "groups": list(groups),
                **_MATRICES[evaluation],
            },
            # Services differ in whether thresholds fold, and rows show it.
            "fold": "never",
            "retry": {"attempts": 2, "base_delay_s": 0.05, "max_delay_s": 0.1},
            **changes,
        }
    )


async def run(store: Path, asked: Sweep) -> tuple[Status, list[dict[str, Any]]]:
    """The run's end and its rows in a canonical order."""
    async with open_engine(store) as engine:
        submitted = await engine.submit(asked)
        status = await submitted.execute()
        # Without the identity, which names the service, and the times of the attempts.
        other = dict.fromkeys(("identity", "attempts", "seconds", "answered_at"))
        rows = [{**asdict(row), **other} async for row in submitted.rows()]
    return status, sorted(rows, key=lambda row: str(sorted(row["labels"].items())))


def in_process(running: Running) -> dict[str, Any]:
    return {
        "kind": "local",
        "endpoint": {"base_url": running.models.base_url, "max_in_flight": 32},
        "cases": running.config.cases,
    }


def over_http(running: Running) -> dict[str, Any]:
    return {
        "kind": "circuit-breaker-labs",
        "base_url": running.base_url,
        "api_key": "env:OWN_SERVICE_KEY",
    }


def gate(running: Running) -> dict[str, Any]:
    """A health gate on our own service, for models on the server behind it."""
    url = httpx.URL(running.models.base_url)
    endpoint = {"scheme": "http", "host": url.host, "port": url.port, "base_path": "/v1"}
    return {
        "kind": "enkrypt",
        "base_url": running.base_url,
        "api_key": "env:OWN_SERVICE_KEY",
        "endpoint": {"model_config": {"endpoint": endpoint, "apikeys": ["env:MODELS_KEY"]}},
    }


def health_questions(running: Running) -> list[str]:
    """The models whose health was checked, in order."""
    return [
        asked.body["model"]
        for asked in running.models.asked
        if asked.body is not None and _HEALTH_QUESTION in asked.body["messages"][-1]["content"]
    ]


@pytest.mark.parametrize("evaluation", list(_MATRICES))
async def test_a_sweep_gives_the_same_rows_in_process_and_over_the_service(
    running: Running,
    rows_in_process: dict[tuple[str, ...], tuple[Status, list[dict[str, Any]]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    evaluation: str,
) -> None:
    monkeypatch.setenv("OWN_SERVICE_KEY", running.key)
    groups = _SHAPES[running.config.answers]

    asked_here = (evaluation, *groups)
    if asked_here not in rows_in_process:
        local = sweep(evaluation, in_process(running), groups)
        rows_in_process[asked_here] = await run(tmp_path / "here.db", local)
    local_status, here = rows_in_process[asked_here]
    served, there = await run(tmp_path / "there.db", sweep(evaluation, over_http(running), groups))

    assert local_status.state is served.state is RunState.FINISHED
    assert there == here
    assert served.cells_done == len(there) == 8 * len(groups)
    assert 0 < sum(row["failed"] for row in there) < sum(row["total"] for row in there)


@pytest.mark.parametrize("running", ["1.0.8"], indirect=True)
@pytest.mark.parametrize("evaluation", list(_MATRICES))
async def test_each_repeat_makes_the_random_choices_that_it_makes_in_process(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluation: str
) -> None:
    monkeypatch.setenv("OWN_SERVICE_KEY", running.key)
    few = {"models": [MODEL], "prompts": [{"name": "bare", "text": PROMPT}], "groups": [GROUP]}
    matrix = {**few, "thresholds": [0.7], "repeats": 3}

    _, here = await run(tmp_path / "here.db", sweep(evaluation, in_process(running), matrix=matrix))
    before = len(running.models.asked)
    _, there = await run(
        tmp_path / "there.db", sweep(evaluation, over_http(running), matrix=matrix)
    )

    assert there == here
    assert [row["labels"]["repeat"] for row in there] == [1, 2, 3]
    asked = [each.body for each in running.models.asked[before:]]
    opened = [body for body in asked if len(body["messages"]) == 2]
    assert len({body["seed"] for body in opened}) == len(opened) == 3 * 3


@pytest.mark.parametrize("running", ["1.0.11"], indirect=True)
async def test_a_sweep_behind_the_health_gate_of_our_own_service_runs(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_SERVICE_KEY", running.key)
    monkeypatch.setenv("MODELS_KEY", "sk-of-the-models")
    before = len(health_questions(running))

    gated = {**over_http(running), "health": gate(running)}
    status, rows = await run(tmp_path / "store.db", sweep("single_turn", gated))

    assert status.state is RunState.FINISHED
    assert all(row["error"] is None for row in rows)
    assert sorted(health_questions(running)[before:]) == sorted([MODEL, COLD_MODEL])
