"""How much CPU simulated time takes: jobs under a rate of 60 a minute, on a store in memory.

    python -m tests.benchmarks.virtual_time [--jobs 300 3000]

Prints the simulated seconds and those of CPU for each number of jobs, at the default settings: the engine looks at
the store every simulated second.
"""

import argparse
import sys
import time

import anyio

from engine import Registry, Sweep, open_engine
from engine.testing import FakeClock, Memory, ScriptedService, scored


async def measure(jobs: int) -> None:
    """Run so many jobs in virtual time."""
    service, clock = ScriptedService(lambda _: scored(0.2, 0.9)), FakeClock()
    registry = Registry(services={"scripted": service})
    sweep = Sweep.parse(
        {
            "name": "virtual-time",
            "service": {"kind": "scripted"},
            "evaluation": "scripted",
            "matrix": {"models": ["a"], "repeats": jobs},
            "limits": {"rate_per_min": 60},
        },
        registry=registry,
    )
    began, cpu = clock.now(), time.process_time()
    async with open_engine(Memory(), registry=registry, clock=clock) as engine, clock.jumping():
        run = await engine.submit(sweep)
        await run.execute()
    cpu = time.process_time() - cpu
    sys.stdout.write(f"{jobs} jobs: {clock.now() - began:.3f} simulated s, {cpu:.2f} CPU s\n")
    sys.stdout.flush()


def main() -> None:
    """Measure each number of jobs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, nargs="+", default=[300, 3000])
    for jobs in parser.parse_args().jobs:
        anyio.run(measure, jobs)


if __name__ == "__main__":
    main()
