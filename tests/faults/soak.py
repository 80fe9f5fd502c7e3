"""The long versions of the crash tests: all failpoints, hundreds of random deaths, a full disk, fuzzing.

By hand: `python -m tests.faults.soak [--minutes 12] [--seed 1] [--only SECTION ...] [--examples 10000]`. Every section is
gone through once; then again, with the next seed each time, until the minutes have passed. One table sums up; the exit
code is 1 if anything was lost or not survived.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic

from tests.contracts.process import ContractServerProcess
from tests.faults.barrages import (
    BODIES,
    CONNECTIONS,
    Barrage,
    Toll,
    small_disk,
)
from tests.faults.processes import ROOT, Launcher
from tests.faults.scenarios import SCENARIOS, ExpansionTrial, Trial
from tests.faults.sweeps import Scenes

KILLS = 200
STRIKES = 60
FULL_DISKS = 20
EXAMPLES = 10_000
FUZZING = ROOT / "tests/faults/test_fuzzing.py"


class Soak:
    """The sections; each adds to its toll, and raises AssertionError for what was not survived."""

    def __init__(
        self, launcher: Launcher, server: ContractServerProcess, seed: int, examples: int
    ) -> None:
        self._launcher = launcher
        self._server = server
        self._seed = seed
        self._examples = examples

    @property
    def sections(self) -> Mapping[str, Callable[[Path, Toll], None]]:
        return {
            "killed at every step": self._failpoints,
            "killed at random": self._kills,
            "several processes, killed and stopped": self._processes,
            "hostile server, killed": self._hostile,
            "disk full, killed": self._storage,
            "fuzzing": self._fuzzing,
        }

    def _scenes(self, folder: Path) -> Scenes:
        self._server.forget()
        self._server.clear()
        self._server.configure(used=0, allotted=10_000_000, latency_s=0.0)
        return Scenes(folder, self._launcher)

    def _barrage(self, folder: Path, toll: Toll) -> Barrage:
        return Barrage(self._scenes(folder), self._server, Random(self._seed), toll)

    def _failpoints(self, folder: Path, toll: Toll) -> None:
        for scenario in SCENARIOS:
            scenes = self._scenes(folder / scenario.name)
            scenes.folder.mkdir()
            for survival in Trial(scenario, scenes, self._server).kills(count(1)):
                toll.in_flight += survival.in_flight
                toll.sent_again += survival.sent_again
                self._survived(toll)
        for _ in ExpansionTrial(self._scenes(folder), self._server).kills(count(1)):
            self._survived(toll)

    def _survived(self, toll: Toll) -> None:
        toll.faults += 1
        toll.survived += 1

    def _kills(self, folder: Path, toll: Toll) -> None:
        barrage = self._barrage(folder, toll)
        barrage.one_after_another(KILLS)
        barrage.finish()
        assert barrage.scene.succeeded_twice() == 0

    def _processes(self, folder: Path, toll: Toll) -> None:
        barrage = self._barrage(folder, toll)
        # Slow enough to last for all of it.
        self._server.configure(latency_s=0.8)
        barrage.beside_each_other(STRIKES, processes=4)
        barrage.finish()

    def _hostile(self, folder: Path, toll: Toll) -> None:
        barrage = self._barrage(folder, toll)
        self._server.configure(
            fault_probability=0.3, fault_kinds=[*BODIES, *CONNECTIONS], fault_seed=self._seed
        )
        barrage.one_after_another(STRIKES)
        barrage.finish()
        assert barrage.scene.succeeded_twice() == 0

    def _storage(self, folder: Path, toll: Toll) -> None:
        with small_disk(folder / "disk", megabytes=16) as disk:
            if disk is None:
                say("disk full: not tried, this user may not mount a small disk")
                return
            barrage = self._barrage(disk.folder, toll)
            barrage.on_a_full_disk(disk, FULL_DISKS)
            barrage.finish()
            assert barrage.scene.succeeded_twice() == 0

    def _fuzzing(self, folder: Path, toll: Toll) -> None:
        """The fuzz tests, with the many examples of their profile `soak`."""
        command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=soak", str(FUZZING)]
        ended = subprocess.run(  # noqa: S603
            [*command, f"--hypothesis-seed={self._seed}", f"--junit-xml={folder / 'fuzzing.xml'}"],
            cwd=ROOT,
            env={**os.environ, "SOAK_EXAMPLES": str(self._examples)},
            capture_output=True,
            text=True,
        )
        tests = (folder / "fuzzing.xml").read_text().count("<testcase ")
        toll.faults += tests * self._examples
        said = (ended.stdout + ended.stderr)[-4_000:]
        assert ended.returncode == 0, f"pytest ended with {ended.returncode}: {said}"
        toll.survived += tests * self._examples


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def round_of(soak: Soak, tolls: Mapping[str, Toll], spent_s: dict[str, float]) -> list[str]:
    """Go through the sections of `tolls` once; what went wrong."""
    wrong = []
    for name in tolls:
        section = soak.sections[name]
        began = monotonic()
        try:
            with tempfile.TemporaryDirectory() as folder:
                section(Path(folder), tolls[name])
        except AssertionError as error:
            wrong.append(f"{name}: {error!r}")
            say(wrong[-1])
        spent_s[name] += monotonic() - began
        say(f"{name}: {tolls[name]}")
    return wrong


def table(tolls: Mapping[str, Toll], spent_s: Mapping[str, float]) -> str:
    lines = [
        "| section | faults | survived | in flight at them | sent again | results lost | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, toll in tolls.items():
        lines.append(
            f"| {name} | {toll.faults:,} | {toll.survived:,} | {toll.in_flight:,}"
            f" | {toll.sent_again:,} | {toll.lost:,} | {spent_s[name]:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0, help="at least so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of each fuzz test")
    parser.add_argument("--only", nargs="+", default=[""], help="sections that begin like this")
    arguments = parser.parse_args()
    began = monotonic()
    wrong: list[str] = []
    with Launcher() as launcher, ContractServerProcess() as server:
        names = [
            name
            for name in Soak(launcher, server, 0, EXAMPLES).sections
            if name.startswith(tuple(arguments.only))
        ]
        tolls, spent_s = {name: Toll() for name in names}, dict.fromkeys(names, 0.0)
        for seed in count(arguments.seed):
            soak = Soak(launcher, server, seed, arguments.examples)
            wrong += round_of(soak, tolls, spent_s)
            if monotonic() - began >= arguments.minutes * 60:
                break
    say(f"\nPython {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores\n")
    say(table(tolls, spent_s))
    wrong += [f"{name}: lost {toll.lost}" for name, toll in tolls.items() if toll.lost]
    wrong += [
        f"{name}: {toll.sent_again} sent again, {toll.in_flight} in flight"
        for name, toll in tolls.items()
        if toll.sent_again > toll.in_flight
    ]
    say("\n" + ("\n".join(wrong) or "results lost: 0"))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
