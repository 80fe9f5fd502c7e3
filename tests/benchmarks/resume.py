"""Resume after kill -9 of a run of 100,000 jobs: from the start of the process to its first request.

By hand: `python -m tests.benchmarks.resume [--jobs 100000]`. Goal: within 1 s of start-up, never waiting for a
lease. What a Python process needs to start at all is measured beside it, in the same run.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.contracts.process import ContractServerProcess
from tests.faults.sweeps import Scene, crisis
from tests.launcher.processes import Launcher


def first_request_s(scene: Scene, server: ContractServerProcess) -> float:
    before = server.state()["received"]
    began = time.time()
    with scene.running("resume"):
        server.wait_received(before + 1)
        arrived = server.requests()[before]["wall_s"]
    return float(arrived - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ContractServerProcess("--latency-s", "30", "--no-validate") as server,
        Launcher() as launcher,
    ):
        sweep = crisis(server.url)
        sweep["matrix"]["models"] = [f"vendor/model-{number}" for number in range(10)]
        sweep["matrix"]["repeats"] = arguments.jobs // 20
        scene = Scene.make(Path(folder) / "scene", launcher, sweep)
        with scene.running("run", "sweep.json") as process:
            server.wait_received(1)
            while scene.ask("SELECT count(*) FROM run WHERE expanded = digest") != [(1,)]:
                time.sleep(0.2)
            process.kill()
            process.wait()
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            scene.run_installed("status")
            status_s = time.perf_counter() - began
            sys.stdout.write(
                f"first request after {first_request_s(scene, server):.2f} s"
                f" (the status command alone: {status_s:.2f} s)\n"
            )


if __name__ == "__main__":
    main()
