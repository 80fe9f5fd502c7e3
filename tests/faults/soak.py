"""The long versions of the crash tests: all failpoints, hundreds of random deaths, a full disk, fuzzing, clocks
that differ, stores that vanish, quotas, months and outages.

By hand: `python -m tests.faults.soak [--minutes 12] [--seed 1] [--only SECTION ...] [--examples 10000]`. Every section is
gone through once, two at a time; then again, with the next seed each time, until the minutes have passed. One table
sums up; the exit code is 1 if anything was lost or not survived.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
from tests.faults.pressures import LONG_OUTAGE_S, SHORT_OUTAGE_S, Pressures
from tests.faults.scenarios import SCENARIOS, ExpansionTrial, Trial
from tests.faults.sweeps import Scenes
from tests.launcher.processes import Launcher
from tests.paths import ROOT

KILLS = 200
STRIKES = 60
FULL_DISKS = 20
EXAMPLES = 10_000
STEPS, FUZZING = "killed at every step", "fuzzing"
KILLS_AT_RANDOM = "killed at random"
BESIDE = "several processes, killed and stopped"
HOSTILE = "hostile server, killed"
FULL = "disk full, killed"
CLOCKS = "several processes with unequal clocks"
VANISHED = "store removed, moved and replaced"
LAYERS = "layered quotas"
MONTHS = "a month that turns, in virtual time"
SECONDS = "outages of 3 s"
MINUTES = "outage of 90 s"
HOURS = "outages of hours, in virtual time"
SECTIONS = (
    STEPS,
    FUZZING,
    MINUTES,
    BESIDE,
    CLOCKS,
    LAYERS,
    SECONDS,
    VANISHED,
    MONTHS,
    HOURS,
    KILLS_AT_RANDOM,
    FULL,
    HOSTILE,
)
"""The longest first."""
FUZZ_TESTS = ROOT / "tests/faults/test_fuzzing.py"


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
            STEPS: self._failpoints,
            KILLS_AT_RANDOM: self._kills,
            BESIDE: self._processes,
            HOSTILE: self._hostile,
            FULL: self._storage,
            FUZZING: self._fuzzing,
            CLOCKS: lambda *at: self._pressures(*at).unequal_clocks(kills=6),
            VANISHED: lambda *at: self._pressures(*at).vanishing_store(rounds=8),
            LAYERS: lambda *at: self._pressures(*at).layered_quotas(rounds=5),
            MONTHS: lambda *at: self._pressures(*at).turning_months(rounds=10),
            SECONDS: lambda *at: self._pressures(*at).outages(SHORT_OUTAGE_S, times=8),
            MINUTES: lambda *at: self._pressures(*at).outages(LONG_OUTAGE_S, times=2),
            HOURS: lambda *at: self._pressures(*at).long_outages(rounds=10),
        }

    def _scenes(self, folder: Path) -> Scenes:
        self._server.forget()
        self._server.clear()
        self._server.configure(used=0, allotted=10_000_000, latency_s=0.0)
        return Scenes(folder, self._launcher)

    def _barrage(self, folder: Path, toll: Toll) -> Barrage:
        return Barrage(self._scenes(folder), self._server, Random(self._seed), toll)

    def _pressures(self, folder: Path, toll: Toll) -> Pressures:
        return Pressures(self._scenes(folder), self._server, Random(self._seed), toll)

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
        report = folder / "fuzzing.xml"
        command = [sys.executable, "-m", "pytest", "-q", str(FUZZ_TESTS), f"--junit-xml={report}"]
        command += ["--hypothesis-profile=soak", f"--hypothesis-seed={self._seed}"]
        ended = subprocess.run(  # noqa: S603
            # Folders of its own, which are not cleaned up otherwise.
            [*command, f"--basetemp={folder / 'pytest'}"],
            cwd=ROOT,
            env={**os.environ, "SOAK_EXAMPLES": str(self._examples)},
            capture_output=True,
            text=True,
        )
        output = (ended.stdout + ended.stderr)[-4_000:]
        assert report.exists(), f"pytest ended with {ended.returncode}: {output}"
        tests = report.read_text().count("<testcase ")
        toll.faults += tests * self._examples
        assert ended.returncode == 0, f"pytest ended with {ended.returncode}: {output}"
        toll.survived += tests * self._examples


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@dataclass(slots=True)
class Account:
    """What a section has come to, over all its seeds."""

    name: str
    toll: Toll = field(default_factory=Toll)
    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def go_through(self, seed: int, examples: int) -> None:
        """The section once, with processes and a folder of its own: another may go on beside it."""
        began = monotonic()
        self.seeds.append(seed)
        try:
            with (
                Launcher() as launcher,
                ContractServerProcess() as server,
                tempfile.TemporaryDirectory() as folder,
            ):
                Soak(launcher, server, seed, examples).sections[self.name](Path(folder), self.toll)
        except Exception as error:
            # Whatever it is, the other sections go on, and the table is printed.
            self.wrong.append(f"{self.name}, seed {seed}: {error!r}")
            say("".join(traceback.format_exception(error)))
        self.seconds += monotonic() - began
        say(f"{self.name}: {self.toll}")

    def verdicts(self) -> list[str]:
        """What went wrong, in a line each."""
        toll = self.toll
        wrong = [*self.wrong]
        if toll.lost or toll.survived < toll.faults:
            wrong.append(
                f"{self.name}: lost {toll.lost}, survived {toll.survived} of {toll.faults}"
            )
        if toll.sent_again > toll.in_flight:
            wrong.append(f"{self.name}: {toll.sent_again} sent again, {toll.in_flight} in flight")
        return wrong

    def row(self) -> str:
        """Its line of the table; where nothing is sent there is nothing to be lost."""
        toll = self.toll
        first, last = min(self.seeds), max(self.seeds)
        counts = (toll.in_flight, toll.sent_again, toll.lost)
        sent = ["" if self.name == FUZZING else f"{count:,}" for count in counts]
        cells = [
            self.name,
            str(first) if first == last else f"{first} to {last}",
            f"{toll.faults:,}",
            f"{toll.survived:,}",
            *sent,
            f"{self.seconds:.0f}",
        ]
        return f"| {' | '.join(cells)} |"


def table(accounts: Sequence[Account]) -> str:
    """Return the summary as a Markdown table, for docs/explanation/fault-testing.md."""
    heads = ("section", "seeds", "faults", "survived", "in flight at them", "sent again")
    return "\n".join(
        [
            f"| {' | '.join(heads)} | results lost | seconds |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
            *(account.row() for account in accounts if account.seeds),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0, help="at least so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of each fuzz test")
    parser.add_argument("--only", nargs="+", default=[""], help="sections that begin like this")
    parser.add_argument("--beside", type=int, default=2, help="sections that go on at once")
    arguments = parser.parse_args()
    began = monotonic()
    accounts = [Account(name) for name in SECTIONS if name.startswith(tuple(arguments.only))]
    for seed in count(arguments.seed):
        with ThreadPoolExecutor(arguments.beside) as beside:
            for account in accounts:
                beside.submit(account.go_through, seed, arguments.examples)
        if monotonic() - began >= arguments.minutes * 60:
            break
    where = f"{platform.system()}, {os.cpu_count()} cores, {monotonic() - began:.0f} s in all"
    say(f"\nPython {platform.python_version()}, {where}\n\n{table(accounts)}")
    wrong = [line for account in accounts for line in account.verdicts()]
    say("\n" + ("\n".join(wrong) or "results lost: 0"))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
