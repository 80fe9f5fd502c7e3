"""Engines on real stores and scripted services."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import Engine, Row, Run, Settings, Status, Sweep, open_engine
from engine.clock import Clock
from engine.kinds import Answer, HealthGate, Job
from engine.registry import Registry
from engine.store import open_store
from engine.testing import Memory, ScriptedService, scored

NOW = 1_800_000_000.0
"""2027-01-15 08:00 UTC, a Friday."""

RARE_POLLS = Settings(poll_s=1800.0, heartbeat_s=1800.0)
"""For hours of simulated time: a look at the store each second of them would take most of a test."""


@asynccontextmanager
async def opened(
    store: Path | Memory,
    service: ScriptedService,
    clock: Clock | None = None,
    *,
    settings: Settings | None = None,
    gate: HealthGate | None = None,
) -> AsyncIterator[Engine]:
    """An engine on a store that knows one scripted service, and perhaps a health gate.

    Under a clock of a test commits are not paced, which takes real time.
    """
    known, settings = registry(service, gate), settings or Settings()
    if clock is None or isinstance(store, Memory):
        async with open_engine(store, registry=known, clock=clock, settings=settings) as engine:
            yield engine
    else:
        async with open_store(store, clock, commit_interval_s=0) as unpaced:
            yield Engine(unpaced, known, clock, settings)


def registry(service: ScriptedService, gate: HealthGate | None = None) -> Registry:
    """A registry of one service, and perhaps a health gate."""
    return Registry(
        services={"scripted": service}, health={} if gate is None else {"scripted": gate}
    )


def sweep(
    service: ScriptedService,
    *,
    models: Sequence[str] = ("a",),
    repeats: int = 1,
    matrix: Mapping[str, Any] | None = None,
    gate: HealthGate | None = None,
    **more: Any,
) -> Sweep:
    """A sweep over models and repeats, with what else the matrix and the file are to hold."""
    kind: dict[str, Any] = {"kind": "scripted"}
    if gate is not None:
        kind["health"] = {"kind": "scripted"}
    return Sweep.parse(
        {
            "name": "scripted",
            "service": kind,
            "evaluation": "scripted",
            "matrix": {"models": list(models), "repeats": repeats, **(matrix or {})},
            **more,
        },
        registry=registry(service, gate),
    )


async def timeless_rows(run: Run) -> list[Row]:
    """The rows of a run without the number and the times of attempts, which differ from run to run."""
    return [replace(row, attempts=0, seconds=None, answered_at=None) async for row in run.rows()]


async def finished(engine: Engine, of: Sweep) -> tuple[Run, Status]:
    """Submit and execute."""
    run = await engine.submit(of)
    return run, await run.execute()


def starts(service: ScriptedService, model: str | None = None) -> list[float]:
    """When attempts were started, of one model or of all, ascending."""
    return sorted(
        start.at
        for start in service.recording.started
        if model in (None, start.job.labels["model"])
    )


def most_in_a_minute(times: Sequence[float]) -> int:
    """The most that started in any 60 s."""
    most, first = 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - 60.0:
            first += 1
        most = max(most, last - first + 1)
    return most


async def events(run: Run) -> list[tuple[str, str | None, str]]:
    """The run's event log: kind, lane, message."""
    return [
        (event.kind, event.lane, event.message)
        for event in await run._store.inspection.latest_events(run._row.id, limit=1_000)
    ]


def good(_: Job) -> Answer:
    """Two cases, one failed at the usual threshold."""
    return scored(0.2, 0.9)
