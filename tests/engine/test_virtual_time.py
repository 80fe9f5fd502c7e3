"""Simulated time is exact: it is what the rule of the rates says, whatever the machine does meanwhile."""

import threading
from collections.abc import Sequence

import anyio
import pytest

from engine.core import rates
from engine.testing import FakeClock, Memory, ScriptedService
from tests.engine.scenes import NOW, RARE_POLLS, finished, good, opened, starts, sweep

RATE_PER_MIN = 60


def rule(count: int) -> list[float]:
    """When the rule lets the first requests of a rate start, taken one by one as soon as each may."""
    slots: list[float] = []
    log, now = rates.EMPTY, NOW
    while len(slots) < count:
        taken = rates.take(log, now=now, rate_per_min=RATE_PER_MIN, want=1)
        slots += taken.slots
        log = rates.decode(rates.encode(taken.log))
        # As a clock has it after sleeping that long: times since 1970 are rounded.
        now += taken.next_at - now
    return slots


@pytest.mark.parametrize(("count", "seconds"), [(300, 294.129), (3000, 3005.607)])
async def test_jobs_start_at_the_very_times_of_the_rule(count: int, seconds: float) -> None:
    service, clock = ScriptedService(good), FakeClock(NOW)
    threads = threading.enumerate()

    async with opened(Memory(), service, clock, settings=RARE_POLLS) as engine, clock.jumping():
        of = sweep(service, repeats=count, limits={"rate_per_min": RATE_PER_MIN})
        _, status = await finished(engine, of)

    assert status.cells_done == count
    assert starts(service) == rule(count)
    assert clock.now() == starts(service)[-1]
    assert clock.now() - NOW == pytest.approx(seconds, abs=1e-5)
    assert threading.enumerate() == threads


@pytest.mark.parametrize(
    ("counts", "takes_s"), [((20, 40, 60), 0.0), ((60, 20, 40), 5.0), ((40, 60, 20), 0.5)]
)
async def test_runs_that_share_a_rate_take_as_long_as_one_in_any_order(
    counts: Sequence[int], takes_s: float
) -> None:
    service, clock = ScriptedService(good, takes_s=takes_s), FakeClock(NOW)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
        anyio.create_task_group() as tasks,
    ):
        for number, count in enumerate(counts):
            of = sweep(
                service,
                name=f"run {number}",
                repeats=count,
                reuse=False,
                limits={"rate_per_min": RATE_PER_MIN},
            )
            tasks.start_soon((await engine.submit(of)).execute)

    # The log of a rate rounds each start up to the millisecond.
    assert starts(service) == pytest.approx(rule(sum(counts)), abs=0.01)
    assert clock.now() == starts(service)[-1] + takes_s
