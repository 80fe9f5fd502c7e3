"""A service is declared once and opened for its jobs alone: what only reads a sweep opens nothing."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from engine import Registry, Sweep, SweepError, UsageError, check, open_engine
from engine.kinds import (
    Answer,
    Clock,
    FunctionKind,
    Health,
    HealthGate,
    Job,
    JobContext,
    JobKind,
    NumberAxis,
    Service,
    ServiceSettings,
    TextAxis,
)
from engine.sweep.json_schema import sweep_schema
from engine.testing import scored


async def answer(job: Job, client: str, context: JobContext) -> Answer:
    assert client == "the client of http://there"
    return scored(0.2, 0.9, threshold=job.parameters["threshold"])


VALUES = FunctionKind(
    name="values",
    function=answer,
    axes=(
        TextAxis(name="targets", field="target"),
        NumberAxis(name="thresholds", field="threshold", minimum=0, maximum=1),
    ),
    folded_field="threshold",
    folds=True,
    lane_field="target",
)


class Settings(ServiceSettings):
    base_url: str = "http://there"


class Recorder(Service):
    """Keeps what was asked of it in a list that all its copies share."""

    settings_model = Settings

    def __init__(self) -> None:
        self.calls: list[str] = []

    @property
    def identity(self) -> str:
        return str(self.settings.base_url)

    def kinds(self) -> Sequence[JobKind]:
        return (VALUES,)

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[str]:
        self.calls.append("open")
        yield f"the client of {self.settings.base_url}"
        self.calls.append("close")


class GateSettings(BaseModel):
    kind: str = "recorder"


class RecorderGate(HealthGate):
    settings_model = GateSettings

    def __init__(self) -> None:
        self.calls: list[str] = []

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[str]:
        self.calls.append("open")
        yield "gate"

    async def check(self, client: str, lane: str) -> Health:
        self.calls.append(f"{client} {lane}")
        return Health(healthy=True)


def sweep_file(**service: Any) -> Mapping[str, Any]:
    return {
        "name": "declared",
        "service": {"kind": "recorder", "health": "recorder", **service},
        "evaluation": "values",
        "matrix": {"targets": ["a", "b"], "thresholds": [0.3, 0.5]},
    }


async def test_only_executing_a_run_opens_its_service_and_its_health_gate(tmp_path: Path) -> None:
    service, gate = Recorder(), RecorderGate()
    registry = Registry(services={"recorder": service}, health={"recorder": gate})

    async with open_engine(tmp_path / "store.db", registry=registry) as engine:
        sweep = Sweep.parse(sweep_file(), registry=registry)
        Sweep.restore(sweep.dump(), registry)
        sweep_schema(registry)
        await engine.plan(sweep)
        run = await engine.submit(sweep)
        await run.status()
        await (await engine.run("declared")).status()
        opened_before = [*service.calls, *gate.calls]
        status = await run.execute()

    assert opened_before == []
    assert service.calls == ["open", "close"]
    assert gate.calls == ["open", "gate a", "gate b"]
    assert (status.cells_done, status.jobs["succeeded"]) == (4, 2)


def test_settings_that_are_wrong_open_nothing_either() -> None:
    service = Recorder()
    registry = Registry(services={"recorder": service}, health={"recorder": RecorderGate()})
    file = {**sweep_file(base_url=7), "matrix": {"targets": ["a"], "thresholds": [2]}}

    with pytest.raises(SweepError, match=r"service\.base_url(.|\n)*matrix\.thresholds\[0\]"):
        Sweep.parse(file, registry=registry)

    assert service.calls == []


def test_a_registry_takes_a_service_as_a_class_and_as_an_instance() -> None:
    service = Recorder()

    made = Registry(services={"recorder": Recorder}).service("recorder")

    assert Registry(services={"recorder": service}).service("recorder") is service
    assert isinstance(made, Recorder)
    assert not made.has_settings


def test_each_sweep_has_the_settings_of_its_own() -> None:
    registry = Registry(services={"recorder": Recorder()}, health={"recorder": RecorderGate()})

    here = Sweep.parse(sweep_file(base_url="http://here"), registry=registry)
    there = Sweep.parse(sweep_file(base_url="http://there"), registry=registry)

    assert (here.service.identity, there.service.identity) == ("http://here", "http://there")
    assert not registry.service("recorder").has_settings


def test_a_lane_is_called_after_the_field_that_the_kind_names() -> None:
    assert VALUES.lane({"target": "a", "threshold": 0.5}) == "a"


class Broken(Recorder):
    """Its `open` is given by each test."""

    def __init__(self, opening: Any) -> None:
        super().__init__()
        self.opening = opening

    def open(self, clock: Clock) -> Any:
        return self.opening()


@asynccontextmanager
async def without_its_file() -> AsyncIterator[str]:
    raise FileNotFoundError(2, "No such file or directory", "certificates.pem")
    yield "never"


async def without_a_context() -> AsyncIterator[str]:
    yield "never"


@pytest.mark.parametrize(
    ("opening", "cause"),
    [
        (without_its_file, "FileNotFoundError: .*certificates.pem"),
        (without_a_context, "TypeError: .*async context manager|TypeError: .*asynchronous context"),
    ],
)
async def test_a_service_that_cannot_be_opened_is_named_with_the_cause(
    opening: Any, cause: str, tmp_path: Path
) -> None:
    registry = Registry(services={"recorder": Broken(opening)}, health={"recorder": RecorderGate()})
    sweep = Sweep.parse(sweep_file(), registry=registry)

    checks = await check(sweep)
    async with open_engine(tmp_path / "store.db", registry=registry) as engine:
        run = await engine.submit(sweep)
        with pytest.raises(UsageError, match=rf"Broken\.open raised ({cause})"):
            await run.execute()

    assert [one.name for one in checks if not one.ok] == ["service"]
    assert "Broken.open raised" in checks[0].message
