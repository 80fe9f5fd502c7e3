"""How much of a rate is used by the one of three processes that goes on, while two are stopped or after they were killed.

By hand: `python -m tests.benchmarks.stopped [--rates 30 600 1200 6000] [--seconds 60] [--rounds 2] [--latency-s 0]`.
One process alone, with a store and a server of its own, works beside them as the yardstick of what this machine can do
in the same seconds. Goals: at least 0.9 of the yardstick, and never more than the rate in any 60 s, also once the stopped
ones go on at a random moment. Both are measured where the requests arrive.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from tests.benchmarks.rate import most_in_a_minute
from tests.contracts.process import ContractServerProcess
from tests.faults.sweeps import Scene, crisis
from tests.launcher.processes import Launcher

PROCESSES = 3
_JOBS = 4
"""Of each repeat of the sweep."""
BEFORE_S = 15.0
"""For how long all processes work before the others are stopped."""
FIRST_S = 5.0
AFTER_S = 15.0
"""For how long it is watched what stopped processes do that go on."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How three processes are tried at a rate, or one as the yardstick."""

    rate: int
    signal: signal.Signals | None
    """What happens to all but one; None: there is but one."""
    seconds: float
    latency_s: float
    in_flight: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured, as shares of the rate; and the most requests in any 60 s of the whole run."""

    first: float
    later: float
    whole: float
    most: int


def measured(trial: Trial) -> Figures:
    """The requests that arrive while all but one are stopped, or after they were killed."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ContractServerProcess("--no-validate", "--latency-s", str(trial.latency_s)) as server,
        Launcher() as launcher,
    ):
        limits = {"rate_per_min": trial.rate, "max_in_flight": trial.in_flight}
        sweep = crisis(server.url, limits=limits)
        whole_s = BEFORE_S + 2 * trial.seconds + AFTER_S
        sweep["matrix"]["repeats"] = ceil(trial.rate * whole_s / 60 / _JOBS)
        scene = Scene.make(Path(folder) / "scene", launcher, sweep)
        try:
            began = _work(scene, server, trial)
        finally:
            scene.end_all()
        arrivals = [request["monotonic_s"] for request in server.requests()]
    return _figures(trial, began, arrivals)


def _work(scene: Scene, server: ContractServerProcess, trial: Trial) -> float:
    """Let the processes work, and all but one be stopped; when that was, on the monotonic clock."""
    first = scene.start("run", "sweep.json")
    server.wait_received(1)
    others = []
    if trial.signal is not None:
        others = [scene.start("resume") for _ in range(PROCESSES - 1)]
    time.sleep(BEFORE_S)
    assert first.poll() is None, first.stderr
    for other in others:
        assert other.poll() is None, other.stderr
        if trial.signal is signal.SIGSTOP:
            # Between two of its transactions: within one it would hold SQLite's lock for as long as it is stopped.
            with scene.locked():
                other.send_signal(signal.SIGSTOP)
                other.wait_stopped()
        else:
            other.kill()
    began = time.monotonic()
    time.sleep(trial.seconds)
    if trial.signal is signal.SIGSTOP:
        time.sleep(random.uniform(0.0, AFTER_S))
        for other in others:
            other.send_signal(signal.SIGCONT)
        time.sleep(AFTER_S)
    return began


def _figures(trial: Trial, began: float, arrivals: list[float]) -> Figures:
    def used(from_s: float, to_s: float) -> float:
        count = bisect_left(arrivals, began + to_s) - bisect_left(arrivals, began + from_s)
        return count / (trial.rate * (to_s - from_s) / 60)

    return Figures(
        first=used(0.0, FIRST_S),
        later=used(FIRST_S, trial.seconds),
        whole=used(0.0, trial.seconds),
        most=most_in_a_minute(arrivals),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=[30, 600, 1_200, 6_000])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--latency-s", type=float, default=0)
    parser.add_argument("--in-flight", type=int, default=64)
    arguments = parser.parse_args()

    def trial(rate: int, number: signal.Signals | None) -> Trial:
        return Trial(rate, number, arguments.seconds, arguments.latency_s, arguments.in_flight)

    with ThreadPoolExecutor(max_workers=2) as pool:
        for rate in arguments.rates:
            for number in [signal.SIGSTOP, signal.SIGKILL] * arguments.rounds:
                trials = [trial(rate, None), trial(rate, number)]
                alone, left = pool.map(measured, trials)
                sys.stdout.write(
                    f"{rate:5d} per minute: alone {alone.whole:.2f} of it,"
                    f" after {number.name} of {PROCESSES - 1} others {left.whole:.2f}"
                    f" ({left.first:.2f} in the first {FIRST_S:g} s, {left.later:.2f} then),"
                    f" ratio {left.whole / alone.whole:.2f};"
                    f" at most {alone.most} and {left.most} in any 60 s\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
