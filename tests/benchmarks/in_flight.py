"""Very many requests in flight, whose answers take long: what they cost while nothing arrives.

By hand: `python -m tests.benchmarks.in_flight [--in-flight 5000] [--latency-s 20] [--rounds 3]`. The sweep is run by a
process of its own, which is looked at from outside once a second. Goal: all slots are filled and stay filled, under
1 GB, and under 0.3 CPU seconds per second while all requests wait.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

from tests.contracts.process import ContractServerProcess


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the process and the server saw."""

    at: float
    cpu_s: float
    rss_bytes: int
    received: int
    in_flight: int


def sweep_of(url: str, jobs: int, in_flight: int) -> dict[str, object]:
    """A sweep of so many jobs in one lane."""
    return {
        "name": "in-flight",
        "service": {
            "kind": "circuit-breaker-labs",
            "base_url": url,
            "api_key": "env:BENCHMARK_KEY",
        },
        "evaluation": "single_turn",
        "matrix": {
            "models": ["vendor/model"],
            "prompts": [{"name": "helpful", "text": "You are a helpful assistant."}],
            "groups": ["suicidal_ideation"],
            "thresholds": [0.5],
            "repeats": jobs,
        },
        "limits": {"max_in_flight": in_flight},
    }


def look_at(process: psutil.Process, server: ContractServerProcess) -> Look:
    """What the process has used, and what the server has."""
    state = server.state()
    used = process.cpu_times()
    return Look(
        time.perf_counter(),
        used.user + used.system,
        process.memory_info().rss,
        state["received"],
        state["in_flight"],
    )


def watch(folder: Path, server: ContractServerProcess) -> tuple[int, list[Look]]:
    """Run the sweep in a folder to its end: its exit code, and a look a second."""
    command = [str(Path(sys.executable).with_name("nightsweep")), "run", "sweep.json"]
    process = subprocess.Popen(  # noqa: S603 - our own command
        command,
        cwd=folder,
        env={**os.environ, "BENCHMARK_KEY": "benchmark"},
        stdout=subprocess.DEVNULL,
    )
    looks = []
    inside = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            looks.append(look_at(inside, server))
        except psutil.NoSuchProcess:
            break
        time.sleep(1)
    return process.wait(), looks


def report(looks: list[Look], in_flight: int, rounds: int) -> None:
    """Print how full the slots were, and what waiting cost."""
    full = [one for one in looks if one.in_flight >= 0.99 * in_flight]
    at_rest = [
        (later.cpu_s - look.cpu_s) / (later.at - look.at)
        for look, later in pairwise(looks)
        if (look.received, look.in_flight) == (later.received, later.in_flight)
        and look.in_flight >= 0.99 * in_flight
    ]
    peak = max(one.rss_bytes for one in looks)
    sys.stdout.write(
        f"{rounds * in_flight} jobs in {looks[-1].at - looks[0].at:.0f} s; {looks[-1].cpu_s:.1f} CPU s;"
        f" peak {peak / 2**20:.0f} MB\n"
        f"all {in_flight} slots filled in {len(full)} of {len(looks)} looks\n"
    )
    if at_rest:
        sys.stdout.write(
            f"while all wait: {statistics.median(at_rest):.4f} CPU s per second (median of {len(at_rest)} s)\n"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, default=5_000)
    parser.add_argument("--latency-s", default="20")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ContractServerProcess("--no-validate", "--latency-s", arguments.latency_s) as server,
    ):
        sweep = sweep_of(server.url, arguments.rounds * arguments.in_flight, arguments.in_flight)
        (Path(folder) / "sweep.json").write_text(json.dumps(sweep))
        code, looks = watch(Path(folder), server)
    report(looks, arguments.in_flight, arguments.rounds)
    sys.exit(code)


if __name__ == "__main__":
    main()
