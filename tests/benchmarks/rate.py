"""The rate in real time on loopback: how much of the budget is used, and the most starts in any 60 s.

By hand: `python -m tests.benchmarks.rate [--minutes 5] [--rates 60 600]`. Goals: at least 98 % of the budget
over 5 minutes, never more than the rate in any 60 s window, measured where the requests arrive.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.contracts.process import ContractServerProcess
from tests.faults.sweeps import Scene, crisis
from tests.launcher.processes import Launcher


def most_in_a_minute(arrivals: list[float]) -> int:
    first, most = 0, 0
    for last, at in enumerate(arrivals):
        while arrivals[first] <= at - 60.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rates", type=int, nargs="+", default=[60, 600])
    arguments = parser.parse_args()
    for rate in arguments.rates:
        with (
            tempfile.TemporaryDirectory() as folder,
            ContractServerProcess() as server,
            Launcher() as launcher,
        ):
            sweep = crisis(server.url, limits={"rate_per_min": rate, "max_in_flight": 64})
            sweep["matrix"]["repeats"] = max(1, int(rate * arguments.minutes))
            scene = Scene.make(Path(folder) / "scene", launcher, sweep)
            with scene.running("run", "sweep.json"):
                server.wait_received(1)
                time.sleep(arguments.minutes * 60)
                arrivals = [request["monotonic_s"] for request in server.requests()]
        within = [at for at in arrivals if at < arrivals[0] + arguments.minutes * 60]
        sys.stdout.write(
            f"{rate} per minute: {len(within)} of {rate * arguments.minutes:.0f} in"
            f" {arguments.minutes:g} min ({len(within) / (rate * arguments.minutes):.1%}),"
            f" at most {most_in_a_minute(arrivals)} in any 60 s\n"
        )


if __name__ == "__main__":
    main()
