"""Rates of a whole engine over simulated minutes."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from engine.testing import FakeClock, scripted_service
from tests.engine.scenes import (
    NOW,
    SELDOM,
    StillClock,
    finished,
    good,
    most_in_a_minute,
    opened,
    starts,
    sweep,
)

MINUTES = 5

@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr("engine.store.writer.COMMIT_INTERVAL_S", 0.0002)



async def run_for(
    path: Path, clock: StillClock, service: type, of: object, seconds: float
) -> None:
    """Work on a sweep for some simulated time, then stop as a first Ctrl-C does."""
    async with opened(path, service, clock, settings=SELDOM) as engine:
        run = await engine.submit(of)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await clock.advance(seconds)
            run.stop()
            async with clock.jumping():
                pass


@pytest.mark.parametrize("rate", [20, 60, 300])
async def test_nearly_all_of_a_rate_is_used_and_never_more(tmp_path: Path, rate: int) -> None:
    service = scripted_service(good)
    clock = StillClock()
    of = sweep(service, repeats=rate * MINUTES + 50, limits={"rate_per_min": rate})

    await run_for(tmp_path / "store.db", clock, service, of, MINUTES * 60.0)

    times = starts(service)
    assert most_in_a_minute(times) <= rate
    assert len(times) >= 0.98 * rate * MINUTES
