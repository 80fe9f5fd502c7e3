"""A large run: its rows, one prompt more, cancel and retry; seconds and peak memory of each command.

By hand: `python -m tests.benchmarks.large [--jobs 200000]`. The store is filled without a service, and each command
is a process of its own. Goal: what is written grows with what has changed, and memory not with the jobs.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import anyio

from engine import Sweep, open_engine
from engine.clock import SystemClock
from engine.core.status import RunState
from engine.session.holdings import BATCH, new_job
from engine.session.identity import identity_of
from tests.contracts.process import ContractServerProcess

MODELS, GROUPS = 10, 20


def sweep_of(jobs: int, url: str, *, prompts_more: int = 0) -> dict[str, Any]:
    prompts = jobs // (MODELS * GROUPS)
    return {
        "name": "large",
        "service": {
            "kind": "circuit-breaker-labs",
            "base_url": url,
            "api_key": "env:BENCHMARK_KEY",
        },
        "evaluation": "single_turn",
        "matrix": {
            "models": [f"vendor/model-{number}" for number in range(MODELS)],
            "prompts": [
                {"name": f"prompt-{number}", "text": f"You are assistant number {number}."}
                for number in range(prompts + prompts_more)
            ],
            "groups": [f"group_{number}" for number in range(GROUPS)],
            "thresholds": [0.5],
        },
        "limits": {"max_in_flight": 16},
    }


async def fill(store: Path, document: dict[str, Any]) -> None:
    """Put the matrix into the queue, as a run does."""
    sweep = Sweep.parse(document)
    async with open_engine(store) as engine:
        await engine.submit(sweep)
        row = await engine.store.find_run(sweep.name)
        assert row is not None
        identity = identity_of(sweep, sweep.service(SystemClock()))
        await engine.store.add_documents(sweep.documents())
        jobs = (new_job(sweep, spec, identity.of(spec.labels)) for spec in sweep.jobs(row.identity))
        while batch := list(islice(jobs, BATCH)):
            await engine.store.add_jobs(row, batch, reuse=False)
        await engine.store.finish_expansion(row)
        await engine.store.set_state(row.id, RunState.ACTIVE)


def answer(store: Path) -> None:
    """Give every job an answer, as if a service had."""
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(
            "INSERT INTO attempt (job_id, fence, run_id, worker, sent_at, ended_at, outcome)"
            " SELECT id, 1, run_id, 'w', 1.7e9, 1.7e9 + 1, 'succeeded' FROM job"
        )
        connection.execute(
            "INSERT INTO result (job_id, run_id, passed, failed, tests, scores, recorded_at)"
            " SELECT id, run_id, 9, 1, 10, '[0.25]', 1.7e9 + 1 FROM job"
        )
        connection.execute("INSERT INTO answer SELECT id, x'789c030000000001' FROM job")
        connection.execute("UPDATE job SET state = 'succeeded', attempts = 1, fence = 1")
        connection.execute("UPDATE run SET state = 'finished'")


def nightsweep(folder: Path, *arguments: str) -> None:
    """Run one command, and tell how long it took and its peak memory."""
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own command
        [Path(sys.executable).with_name("nightsweep"), *arguments],
        cwd=folder,
        env={**os.environ, "BENCHMARK_KEY": "benchmark"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    sys.stdout.write(
        f"{' '.join(arguments)}: {time.perf_counter() - began:.1f} s,"
        f" {usage.ru_utime + usage.ru_stime:.1f} CPU s, peak {usage.ru_maxrss / 1024:.0f} MB,"
        f" exit code {process.returncode}\n"
    )
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ContractServerProcess("--no-validate") as server:
        folder = Path(name)
        anyio.run(fill, folder / "nightsweep.db", sweep_of(arguments.jobs, server.url))
        nightsweep(folder, "cancel")
        nightsweep(folder, "retry", "--cancelled")
        answer(folder / "nightsweep.db")
        nightsweep(folder, "results", "--format", "csv")
        more = sweep_of(arguments.jobs, server.url, prompts_more=1)
        (folder / "sweep.json").write_text(json.dumps(more))
        began = time.time()
        nightsweep(folder, "run", "sweep.json")
        first_s = server.requests()[0]["wall_s"] - began
        sys.stdout.write(f"one prompt more: the first request after {first_s:.1f} s\n")


if __name__ == "__main__":
    main()
