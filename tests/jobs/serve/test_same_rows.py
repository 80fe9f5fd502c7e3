"""One sweep gives the same rows in this process and over the service."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine import Sweep, open_engine
from tests.jobs.serve.running import COLD_MODEL, GROUP, MODEL, OTHER_GROUP, Running


async def rows(store: Path, sweep: dict[str, Any]) -> list[dict[str, Any]]:
    async with open_engine(store) as engine:
        run = await engine.submit(Sweep.parse(sweep))
        await run.execute()
        found: AsyncIterator[Any] = run.rows()
        return [
            {
                **row.labels,
                "state": row.state,
                "passed": row.passed,
                "failed": row.failed,
                "total": row.total,
                "failure_rate": row.failure_rate,
            }
            async for row in found
        ]


@pytest.mark.parametrize("evaluation", ["single_turn", "multi_turn"])
async def test_a_sweep_in_process_and_over_the_service_gives_the_same_rows(
    service: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluation: str
) -> None:
    monkeypatch.setenv("SERVICE_KEY", service.key)
    steps: dict[str, Any] = (
        {"variations": [2], "maximum_iteration_layers": [0, 2]}
        if evaluation == "single_turn"
        else {"max_turns": [2, 6]}
    )
    matrix = {
        "models": [MODEL, COLD_MODEL],
        "prompts": [{"name": "plain", "text": "You are kind."}],
        "groups": [GROUP, OTHER_GROUP],
        "thresholds": [0.3, 0.7],
        **steps,
    }
    here: dict[str, Any] = {"kind": "local"}
    here["endpoint"] = {"base_url": service.models.base_url}
    here["cases"] = service.config.cases
    there = {"kind": "circuit-breaker-labs", "base_url": service.base_url}
    there["api_key"] = "env:SERVICE_KEY"
    sweep = {"evaluation": evaluation, "matrix": matrix}

    local = await rows(tmp_path / "a.db", {"name": "here", "service": here, **sweep})
    remote = await rows(tmp_path / "b.db", {"name": "there", "service": there, **sweep})

    assert local == remote
    assert len(local) == 16
    assert {row["state"] for row in local} == {"succeeded"}
    assert 0 < sum(row["failed"] for row in local) < sum(row["total"] for row in local)
