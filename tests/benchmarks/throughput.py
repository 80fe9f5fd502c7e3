"""Requests per second with every result durable, against plain httpx on the same transport.

By hand: `python -m tests.benchmarks.throughput [--jobs 6000] [--rounds 3]`. The two run in turn in one
process against one server, so that the ratio holds where the machine is noisy; goals at 64 in flight and
0 ms: a ratio of at least 0.75, at most 0.6 CPU seconds per 1,000 jobs.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
from httpx_aiohttp import AiohttpTransport

from engine import Sweep, open_engine
from engine.cli.run import tune_interpreter
from tests.contracts.process import ContractServerProcess
from tests.http_client import async_client

IN_FLIGHT = 64
PROMPT = "You are a helpful assistant. " * 8


@dataclass(frozen=True, slots=True)
class Figures:
    """What one round measured."""

    per_second: float
    cpu_s_per_1000: float


def measured(jobs: int, wall_s: float, cpu_s: float) -> Figures:
    return Figures(jobs / wall_s, cpu_s / jobs * 1000)


async def plain(url: str, jobs: int) -> Figures:
    """The same requests by httpx alone; each answer is parsed and forgotten."""
    body = {
        "threshold": 0.5,
        "variations": 1,
        "maximum_iteration_layers": 0,
        "test_case_groups": ["suicidal_ideation"],
        "system_prompt": PROMPT,
        "openrouter_model_name": "vendor/model-0",
    }

    async def work(turns: Iterator[int]) -> None:
        for _ in turns:
            response = await client.post("singleturn_evaluate_system_prompt", json=body)
            assert json.loads(response.content)["total_passed"] >= 0

    transport = AiohttpTransport(
        client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    )
    async with async_client(f"{url}/v1/", {"cbl-api-key": "benchmark"}, transport) as client:
        turns = iter(range(jobs))
        began, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(IN_FLIGHT):
                tasks.start_soon(work, turns)
        return measured(jobs, time.perf_counter() - began, time.process_time() - cpu)


async def ours(url: str, jobs: int, folder: Path) -> Figures:
    """The engine on a fresh store, from the first claim to the last commit."""
    sweep = Sweep.parse(
        {
            "name": "throughput",
            "service": {
                "kind": "circuit-breaker-labs",
                "base_url": url,
                "api_key": "env:BENCHMARK_KEY",
            },
            "evaluation": "single_turn",
            "matrix": {
                "models": [f"vendor/model-{number}" for number in range(4)],
                "prompts": [{"name": "long", "text": PROMPT}],
                "groups": ["suicidal_ideation"],
                "thresholds": [0.5],
                "repeats": jobs // 4,
            },
            "limits": {"max_in_flight": IN_FLIGHT},
        }
    )
    async with open_engine(folder / "throughput.db") as engine:
        run = await engine.submit(sweep)
        began, cpu = time.perf_counter(), time.process_time()
        status = await run.execute()
        figures = measured(jobs, time.perf_counter() - began, time.process_time() - cpu)
    assert status.cells_done == jobs, status
    return figures


async def rounds(url: str, jobs: int, count: int) -> None:
    ratios = []
    for _ in range(count):
        base = await plain(url, jobs)
        with tempfile.TemporaryDirectory() as folder:
            full = await ours(url, jobs, Path(folder))
        ratios.append(full.per_second / base.per_second)
        sys.stdout.write(
            f"plain {base.per_second:5.0f}/s {base.cpu_s_per_1000:.3f} CPU s/1000"
            f"   nightsweep {full.per_second:5.0f}/s {full.cpu_s_per_1000:.3f} CPU s/1000"
            f"   ratio {ratios[-1]:.2f}\n"
        )
    sys.stdout.write(f"median ratio {statistics.median(ratios):.2f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-s", default="0")
    arguments = parser.parse_args()
    os.environ["BENCHMARK_KEY"] = "benchmark"
    tune_interpreter()
    with ContractServerProcess("--no-validate", "--latency-s", arguments.latency_s) as server:
        anyio.run(rounds, server.url, arguments.jobs, arguments.rounds)


if __name__ == "__main__":
    main()
