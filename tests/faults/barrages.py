"""Random deaths and stops over one run, for as long as it takes: the long versions, for `soak`."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

from tests.contracts.process import ContractServerProcess
from tests.faults.failpoints import Faults
from tests.faults.sweeps import Scene, Scenes, crisis
from tests.launcher.processes import Command

JOBS = 2_400
RUN = ("run", "sweep.json")
_ANSWERED = "SELECT count(*) FROM result"
LEASE_S = 4.0
"""Short, but longer than a busy machine keeps a live process from beating its heart."""
HASTY = {"NIGHTSWEEP_POLL_S": "0.2", "NIGHTSWEEP_HEARTBEAT_S": "0.3"}
BODIES = ("garbage", "empty", "cut_json", "wrong_schema", "error_in_200", "huge_integer")
CONNECTIONS = (
    "status",
    "lost_answer",
    "reset",
    "reset_in_body",
    "truncated_chunks",
    "wrong_length",
)


@dataclass(slots=True)
class Toll:
    """What a section has cost so far."""

    faults: int = 0
    survived: int = 0
    in_flight: int = 0
    """Requests in flight at the deaths, and those that stopped processes held."""
    sent_again: int = 0
    lost: int = 0
    """Results that were there, or were to be there, and are not."""
    figures: list[str] = field(default_factory=list)
    """What was measured, in words."""


class Disk:
    """A small file system of its own, that can be filled to the last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            for size in (65_536, 4_096):
                with suppress(OSError):
                    while filler.write(bytes(size)) == size:
                        pass

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk | None]:
    """A disk of that size; None where this user may not mount one."""
    folder.mkdir()
    options = f"size={megabytes}m"
    if os.system(f"mount -t tmpfs -o {options} tmpfs '{folder}' 2>/dev/null"):  # noqa: S605
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        os.system(f"umount '{folder}'")  # noqa: S605


@dataclass(slots=True)
class Barrage:
    """One run of many jobs, started again after each death until it is done."""

    scenes: Scenes
    server: ContractServerProcess
    chance: Random
    toll: Toll
    scene: Scene = field(init=False)
    expected: list[str] = field(init=False)

    def __post_init__(self) -> None:
        sweep = crisis(
            self.server.url, retry={"attempts": 100, "base_delay_s": 0.01, "max_delay_s": 0.1}
        )
        sweep["matrix"] |= {"repeats": JOBS // 4}
        self._reset()
        calm = self.scenes.make(sweep)
        assert calm.sweep().code == 0
        self.expected = calm.rows()
        self._reset()
        self.server.configure(latency_s=0.02)
        self.scene = self.scenes.make(sweep)

    def _reset(self) -> None:
        self.server.forget()
        self.server.clear()
        self.server.configure(used=0, latency_s=0.0)

    def one_after_another(self, kills: int) -> None:
        """Kill a lone process again and again, sometimes before its first request."""
        for number in range(kills):
            command = self.scene.start(*self._resume(number))
            self._let_work(command)
            command.kill()
            if command.poll() == 0:
                return  # A busy machine was late with its kills: the run is done.
            self.toll.faults += 1
            assert command.poll() == -signal.SIGKILL, f"it ended by itself: {command.stderr}"
            self._struck(self.scene.in_flight() if self.scene.is_migrated() else 0)

    def beside_each_other(self, strikes: int, processes: int) -> None:
        """Kill one of several processes, or stop it for longer than its lease, again and again."""
        running = [self._start() for _ in range(processes)]
        for _ in range(strikes):
            if self.scene.is_migrated() and self.scene.count(_ANSWERED) > JOBS * 0.9:
                break
            victim = self.chance.choice(running)
            self._let_work(victim)
            self.toll.faults += 1
            if self.chance.random() < 0.25:
                self._stop_past_lease(victim)
            else:
                held = self._kill(victim)
                running[running.index(victim)] = self._start()
                self._struck(held)
        self.server.configure(latency_s=0.0)
        for command in running:
            assert command.wait() == 0, command.stderr

    def on_a_full_disk(self, disk: Disk, rounds: int) -> None:
        """Fill the disk under a run again and again; half the time it dies before there is space."""
        for number in range(rounds):
            command = self.scene.start(*RUN)
            self._let_work(command)
            disk.fill()
            self.toll.faults += 1
            self._pass_time(command, self.chance.uniform(0.0, 2.5))
            if number % 2:
                disk.free()
                self._let_work(command)
            command.kill()
            disk.free()
            self._struck(self.scene.in_flight())

    def finish(self) -> None:
        """Leave the run alone until it is done, and look for what is missing."""
        self.server.clear()
        self.server.configure(latency_s=0.0)
        ended = self.scene.sweep()
        if ended.code == 1:
            assert self.scene.run("retry").code == 0
            ended = self.scene.run("resume")
        assert ended.code == 0, ended.stderr
        rows = set(self.scene.rows())
        self.toll.lost += sum(row not in rows for row in self.expected)
        assert self.scene.is_sound()
        assert self.scene.count("SELECT count(*) FROM job") == JOBS
        assert self.scene.count("SELECT sum(reserved) FROM quota") == 0
        used = self.scene.count("SELECT sum(used + overrun) FROM quota")
        state = self.server.state()
        assert used >= state["behaviour"]["used"]
        assert state["received"] <= self.scene.sent()
        outcomes = dict(self.scene.ask("SELECT outcome, count(*) FROM attempt GROUP BY outcome"))
        followed = outcomes.get("failed", 0) + outcomes.get("timed_out", 0)
        self.toll.sent_again += max(0, state["received"] - JOBS - followed)

    def _resume(self, number: int) -> tuple[str, ...]:
        # A death between the migration and the run leaves a store that has nothing to resume.
        return ("resume", "crisis") if number % 2 and self.scene.has_run() else RUN

    def _start(self) -> Command:
        return self.scene.start(*RUN, faults=Faults(lease_s=LEASE_S), **HASTY)

    def _let_work(self, command: Command) -> None:
        """Until a few more requests have arrived, or for a random moment."""
        if self.chance.random() < 0.3:
            self._pass_time(command, self.chance.uniform(0.0, 0.4))
            return
        target = self.server.state()["received"] + self.chance.randint(1, 12)
        command.until(
            lambda: self.server.state()["received"] >= target or command.poll() is not None,
            "a few more requests",
        )

    def _pass_time(self, command: Command, seconds: float) -> None:
        until = monotonic() + seconds
        while monotonic() < until and command.poll() is None:
            command.pause()

    def _kill(self, victim: Command) -> int:
        """SIGKILL, and how many requests died with it: no process may take them over before they are counted."""
        with self.scene.locked() as held_by:
            victim.kill()
            return held_by(victim.pid)

    def _stop_past_lease(self, victim: Command) -> None:
        # Within one of its transactions it would hold SQLite's lock, and block all other processes.
        with self.scene.locked() as held_by:
            victim.send_signal(signal.SIGSTOP)
            victim.wait_stopped()
            held = held_by(victim.pid)
        self._pass_time(victim, self.chance.uniform(0.5, 2.0) * LEASE_S)
        victim.send_signal(signal.SIGCONT)
        self._struck(held)

    def _struck(self, in_flight: int) -> None:
        assert self.scene.is_sound()
        self.toll.in_flight += in_flight
        self.toll.survived += 1
