"""The sweeps in docs/examples, run against servers on this machine."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import Run, Status, Sweep, open_engine
from engine.documents.document import YAML
from tests.contracts.server import ContractServer
from tests.jobs.chat.server import chat_server, completion
from tests.paths import ROOT

FOLDER = ROOT / "docs/examples"
KEY = "planted-example-key-0123"
ALONE = {"rate_per_min", "window", "timezone", "models"}
"""Limits that would have a test wait."""


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in FOLDER.glob("*.yaml"):
        for name in re.findall(r"[A-Z]+_API_KEY", path.read_text()):
            monkeypatch.setenv(name, KEY)


def example(name: str, **service: Any) -> dict[str, Any]:
    """The sweep of an example, with settings of its service replaced, without limits that make it wait."""
    sweep = YAML.read((FOLDER / name).read_text())
    limits = {key: one for key, one in sweep["limits"].items() if key not in ALONE}
    return {
        **sweep,
        "service": {**sweep["service"], **service},
        "limits": limits,
        "retry": {"outage_h": 0},
    }


async def finished(sweep: Mapping[str, Any], store: Path) -> tuple[Status, list[Mapping[str, Any]]]:
    async with open_engine(store) as engine:
        run: Run = await engine.submit(Sweep.parse(sweep, folder=FOLDER))
        status = await run.execute()
        return status, [row.labels async for row in run.rows()]


async def test_the_example_of_an_endpoint_of_one_s_own_runs(tmp_path: Path) -> None:
    async with chat_server(lambda _: (200, completion("I hear you. Are you safe?"))) as server:
        written = YAML.read((FOLDER / "own-endpoint.yaml").read_text())["service"]["endpoint"]
        sweep = example("own-endpoint.yaml", endpoint={**written, "base_url": server.base_url})
        sweep["matrix"] |= {"groups": ["mania"], "repeats": 1}

        status, rows = await finished(sweep, tmp_path / "store.db")

    assert (status.cells_done, status.cells_failed) == (status.cells, 0)
    assert {row["prompt"] for row in rows} == {"plain", "listener", "referral", "baseline"}
    assert not any(row["model"] == "my-model-v1" and row["prompt"] == "baseline" for row in rows)
    systems = {
        asked.body["messages"][0]["content"]
        for asked in server.asked
        if asked.body["messages"][0]["role"] == "system"
    }
    assert any("suggest the campus counselling centre and a crisis line" in one for one in systems)


async def test_the_example_of_a_chat_sweep_runs_on_the_built_in_model(
    tmp_path: Path, built_in_model: Path
) -> None:
    async with open_engine(tmp_path / "store.db") as engine:
        run: Run = await engine.submit(Sweep.load(FOLDER / "chat.yaml"))
        status = await run.execute()
        rows = [row async for row in run.rows()]

    assert (status.cells_done, status.cells_failed, len(rows)) == (16, 0, 16)
    for row in rows:
        values = row.values
        assert str(values["reply"]).strip()
        assert values["finish_reason"] in ("stop", "length")
        assert 0 < int(values["tokens_out"]) <= 16 < int(values["tokens_in"])
        assert (row.passed, row.failed) == ((1, 0) if values["contains"] else (0, 1))
        assert isinstance(values["one_word"], bool)


async def test_the_example_of_circuit_breaker_labs_runs(tmp_path: Path) -> None:
    async with ContractServer(keys=[KEY]) as server:
        sweep = example(
            "circuit-breaker-labs.yaml",
            base_url=server.url,
            health={"kind": "enkrypt", "base_url": server.url},
        )

        status, rows = await finished(sweep, tmp_path / "store.db")

    assert (status.cells_done, status.cells_failed) == (status.cells, 0)
    assert len(rows) == 2 * 2 * 2 * 3 * 2 + 2
    assert server.violations == []


async def test_the_example_of_model_health_runs(tmp_path: Path) -> None:
    async with ContractServer(keys=[KEY]) as server:
        status, rows = await finished(
            example("enkrypt.yaml", base_url=server.url), tmp_path / "store.db"
        )

    assert (status.cells_done, status.cells_failed) == (2, 0)
    assert [row["model"] for row in rows] == ["mixtral-at-together", "gpt-4-at-openai"]
    assert server.violations == []
