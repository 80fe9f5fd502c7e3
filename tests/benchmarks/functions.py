"""Durable calls per second of functions that return at once, and what each costs.

By hand: `python -m tests.benchmarks.functions [--calls 12000] [--rounds 3]`. An async function runs in the event
loop, a plain one in threads and in two processes; beside them the bare function is awaited as often, so that what
is stated is the engine's part. Goal at 64 in flight: 3,000 durable calls/s of the async function.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from engine import FunctionJob, Sweep, job, open_engine
from engine.cli.run import tune_interpreter

IN_FLIGHT = 64


@job(version="1", max_in_flight=IN_FLIGHT)
async def in_loop(n: int) -> dict[str, float]:
    """Return at once."""
    return {"half": n / 2}


@job(version="1", max_in_flight=IN_FLIGHT)
def in_threads(n: int) -> dict[str, float]:
    """Return at once."""
    return {"half": n / 2}


@job(version="1", processes=2)
def in_processes(n: int) -> dict[str, float]:
    """Return at once."""
    return {"half": n / 2}


WAYS: dict[str, tuple[FunctionJob[..., Any], int]] = {
    "async": (in_loop, 1),
    "threads": (in_threads, 2),
    "2 processes": (in_processes, 4),
}
"""The functions, and by how much fewer calls of each are made."""


async def bare(calls: int) -> float:
    """Seconds that a bare call takes."""
    began = time.perf_counter()
    for n in range(calls):
        await in_loop(n)
    return (time.perf_counter() - began) / calls


async def durable(function: FunctionJob[..., Any], calls: int, folder: Path) -> tuple[float, float]:
    """Calls per second on a fresh store, from the first claim to the last commit, and CPU milliseconds per call."""
    async with open_engine(folder / "functions.db") as engine:
        run = await engine.submit(Sweep("functions", function, matrix={"n": range(calls)}))
        began, cpu = time.perf_counter(), time.process_time()
        status = await run.execute()
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    assert status.cells_done == calls, status
    return calls / wall_s, cpu_s / calls * 1000


async def rounds(calls: int, count: int, write: Callable[[str], Any]) -> None:
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(count):
        write(f"bare {await bare(calls) * 1e6:.1f} us a call\n")
        for name, (function, part) in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                per_second, cpu_ms = await durable(function, calls // part, Path(folder))
            found[name].append(per_second)
            write(f"{name:<12} {per_second:6.0f} durable calls/s, {cpu_ms:.3f} CPU ms a call\n")
    for name, rates in found.items():
        write(f"median of {name}: {statistics.median(rates):.0f}/s\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    tune_interpreter()
    anyio.run(rounds, options.calls, options.rounds, sys.stdout.write)


if __name__ == "__main__":
    main()
