"""Engines on real stores, scripted services, and a clock that moves only while nothing is going on."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from math import isinf
from pathlib import Path
from typing import Any

import anyio
from anyio import lowlevel

from engine import Engine, Run, Settings, Status, Sweep, open_engine
from engine.clock import Clock
from engine.job import Answer, HealthGate, Job
from engine.registry import Registry
from engine.store import Store
from engine.testing import FakeClock, ScriptedService, scored

NOW = 1_800_000_000.0
"""2027-01-15 08:00 UTC, a Friday."""

SELDOM = Settings(poll_s=1800.0, heartbeat_s=1800.0)
"""For hours of simulated time: a look at the store each second of them would take most of a test."""

# As many turns of the event loop in which nobody asks for the time are taken for a standstill.
_QUIET_TURNS = 30
_MOMENT_S = 0.0005


class StillClock(FakeClock):
    """A FakeClock that also stands still while one of its stores reads or writes.

    With it a slow disk costs a test time, and never a request its slot.
    """

    def __init__(self, now: float = NOW) -> None:
        super().__init__(now)
        self.stores: list[Store] = []

    async def _become_quiet(self) -> None:
        turns, asked = 0, self._asked
        while turns < _QUIET_TURNS:
            if any(map(_is_busy, self.stores)):
                turns = 0
                await anyio.sleep(_MOMENT_S)
            elif isinf(self._next()):
                turns += 3
                await anyio.sleep(_MOMENT_S)
            else:
                turns += 1
                await lowlevel.checkpoint()
            if asked != self._asked:
                turns, asked = 0, self._asked


def _is_busy(store: Store) -> bool:
    writing = store._writer._send.statistics()
    reading = store._databases._reader.pool
    is_idle = writing.tasks_waiting_receive == 1 and not writing.current_buffer_used
    return not is_idle or bool(reading.checkedout())  # type: ignore[attr-defined]


@asynccontextmanager
async def opened(
    path: Path,
    service: type[ScriptedService],
    clock: Clock | None = None,
    *,
    settings: Settings | None = None,
    gate: type[HealthGate] | None = None,
) -> AsyncIterator[Engine]:
    """An engine on a store that knows one scripted service, and perhaps a health gate."""
    async with open_engine(
        path, registry=registry(service, gate), clock=clock, settings=settings or Settings()
    ) as engine:
        if isinstance(clock, StillClock):
            clock.stores.append(engine.store)
        try:
            yield engine
        finally:
            if isinstance(clock, StillClock):
                clock.stores.remove(engine.store)


def registry(service: type[ScriptedService], gate: type[HealthGate] | None = None) -> Registry:
    """A registry of one service, and perhaps a health gate."""
    return Registry(
        services={"scripted": service}, health={} if gate is None else {"scripted": gate}
    )


def sweep(
    service: type[ScriptedService],
    *,
    models: Sequence[str] = ("a",),
    repeats: int = 1,
    matrix: Mapping[str, Any] | None = None,
    gate: type[HealthGate] | None = None,
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


async def finished(engine: Engine, of: Sweep) -> tuple[Run, Status]:
    """Submit and execute."""
    run = await engine.submit(of)
    return run, await run.execute()


def starts(service: type[ScriptedService], model: str | None = None) -> list[float]:
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
        (kind, lane, message)
        for _, kind, lane, message in await run._store.events(run._row.id, limit=1_000)
    ]


def good(_: Job) -> Answer:
    """Two cases, one failed at the usual threshold."""
    return scored(0.2, 0.9)
