"""Clocks that differ, stores that vanish, quotas, months and outages: sections of `soak`, each for many rounds.

In each a run is brought to its end, whatever befell it, and what it promised meanwhile is measured at the server.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import anyio

from engine import RunState, StopReason
from engine.kinds import Allotment, Answer, Job, Unreachable
from engine.testing import FakeClock, ScriptedKind, ScriptedService
from tests.contracts.process import ContractServerProcess
from tests.engine.scenes import RARE_POLLS, finished, good, most_in_a_minute, opened
from tests.engine.scenes import sweep as scripted_sweep
from tests.faults.barrages import HASTY, LEASE_S, RUN, Toll
from tests.faults.failpoints import Faults
from tests.faults.scenarios import EVALUATION
from tests.faults.sweeps import Scene, Scenes, crisis, small
from tests.faults.test_vanished_store import HARMS, StoreApart, read, resume
from tests.launcher.processes import Command

RATE_PER_MIN = 240
LONG_S = 600.0
"""Guards against hanging for ever, where a run takes minutes by what it promises."""
SHORT_OUTAGE_S, LONG_OUTAGE_S = 3.0, 90.0
BACK_AFTER_S = {SHORT_OUTAGE_S: 20.0, LONG_OUTAGE_S: 90.0}
"""A service that was away for seconds is asked again within seconds, another one once a minute."""
HOUR_S = 3600.0
_VANISHING_JOBS = 400


class Pressures:
    """The sections; each adds to its toll, and raises AssertionError for a promise that was broken."""

    def __init__(
        self, scenes: Scenes, server: ContractServerProcess, chance: Random, toll: Toll
    ) -> None:
        self._scenes = scenes
        self._server = server
        self._chance = chance
        self._toll = toll

    def unequal_clocks(self, kills: int) -> None:
        """Three processes whose clocks are minutes apart share one rate, while one after another is killed."""
        sweep = small(
            self._server.url,
            repeats=RATE_PER_MIN,
            limits={"max_in_flight": 32, "rate_per_min": RATE_PER_MIN},
        )
        expected = self._undisturbed(sweep)
        scene = self._scenes.make(sweep)
        running = [self._with_other_clock(scene) for _ in range(3)]
        for _ in range(kills):
            victim = self._chance.choice(running)
            self._pass_time(self._chance.uniform(1.0, 60.0 / kills))
            if victim.poll() == 0:
                break
            with scene.locked() as held_by:
                victim.kill()
                self._toll.in_flight += held_by(victim.pid)
            self._toll.faults += 1
            self._toll.survived += 1
            running[running.index(victim)] = self._with_other_clock(scene)
        for command in running:
            code = self._ended(command)
            # A process may refuse to work beside another clock, in words; it never exceeds the rate.
            assert code == 0 or "clock" in command.stderr, command.stderr
        arrivals = sorted(self._server.state()["arrivals"])
        most = most_in_a_minute(arrivals)
        self._toll.figures.append(f"at most {most} of {RATE_PER_MIN} in a minute")
        self._toll.sent_again += max(0, len(arrivals) - 2 * RATE_PER_MIN)
        self._whole(scene, expected)
        assert most <= RATE_PER_MIN, f"{most} of {RATE_PER_MIN} arrived within 60 s"

    def vanishing_store(self, rounds: int) -> None:
        """The store is removed, moved or replaced under a run, which stops and is continued; no request is paid for twice."""
        sweep = small(self._server.url, repeats=_VANISHING_JOBS // 2)
        for number in range(rounds):
            way, harm = list(HARMS.items())[number % len(HARMS)]
            self._fresh()
            self._server.configure(latency_s=0.05)
            folder = self._scenes.folder / f"apart-{number}"
            scene = StoreApart.make(folder, self._scenes.launcher, sweep)
            scene.store.parent.mkdir()
            self._scenes.made.append(scene)
            command = scene.start(*RUN, faults=None, **HASTY)
            self._server.wait_received(self._chance.randint(4, _VANISHING_JOBS // 4))
            command.until(partial(_has_answers, scene), "answers")
            assert scene.run("backup", str(scene.store.with_name("backup.db"))).code == 0
            self._pass_time(self._chance.uniform(0.0, 0.5))
            began, sent = monotonic(), self._server.state()["received"]
            harm.do(scene.store)
            self._toll.faults += 1
            code = self._ended(command)
            took_s = monotonic() - began
            after = self._server.state()["received"] - sent
            self._toll.figures.append(f"{way}: {after} more requests in {took_s:.1f} s")
            assert code == 2, f"{way}: exit code {code}: {command.stderr}"
            assert harm.message.format(store=scene.store) in command.stderr, command.stderr
            self._server.configure(latency_s=0.0)
            store = harm.then(scene.store, command.stderr)
            resume(scene, store)
            found = read(store)
            self._toll.lost += _VANISHING_JOBS - _answers(found)
            self._toll.sent_again += self._server.state()["received"] - _VANISHING_JOBS
            assert found.is_sound()
            assert found.succeeded_twice() == 0
            self._toll.survived += 1

    def layered_quotas(self, rounds: int) -> None:
        """Evaluations whose cost is known only afterwards come up to a cap of tests, and never beyond it."""
        sweep = small(self._server.url, repeats=20)
        sweep["matrix"] |= {"variations": [3], "maximum_iteration_layers": [2]}
        expected = self._undisturbed(sweep)
        whole = self._server.state()["behaviour"]["used"]
        for _ in range(rounds):
            self._fresh()
            cap = self._chance.randrange(whole // 4, whole * 3 // 4)
            in_flight = self._chance.choice((4, 16, 64))
            limits = {"max_in_flight": in_flight, "quota": {"tests": cap}}
            scene = self._scenes.make({**sweep, "limits": limits})
            self._server.configure(latency_s=0.2)
            running = [scene.start(*RUN, faults=None, **HASTY) for _ in range(2)]
            self._server.wait_received(2)
            self._pass_time(self._chance.uniform(0.0, 0.5))
            with scene.locked() as held_by:
                running[0].kill()
                self._toll.in_flight += held_by(running[0].pid)
            running[0] = scene.start(*RUN, faults=None, **HASTY)
            self._toll.faults += 1
            codes = [self._ended(command) for command in running]
            used = self._server.state()["behaviour"]["used"]
            figure = f"{used} of {cap} tests, {in_flight} in flight"
            self._toll.figures.append(figure)
            assert used <= cap, figure
            assert all(code in (0, 3) for code in codes), [one.stderr for one in running]
            scene.write({**sweep, "limits": {"max_in_flight": 64}})
            self._server.configure(latency_s=0.0)
            assert scene.sweep().code == 0
            self._whole(scene, expected)
            self._toll.survived += 1

    def turning_months(self, rounds: int) -> None:
        """In virtual time: a month turns while evaluations are in flight, and neither month is exceeded."""
        for number in range(rounds):
            self._toll.faults += 1
            figure = anyio.run(_turn_a_month, self._scenes.folder / f"month-{number}", self._chance)
            self._toll.figures.append(figure)
            self._toll.survived += 1

    def outages(self, seconds: float, times: int) -> None:
        """The service fails for so long, again and again; the run goes on soon after and loses nothing."""
        sweep = crisis(self._server.url)
        sweep["matrix"] |= {"repeats": 600}
        del sweep["retry"]
        expected = self._undisturbed(sweep)
        scene = self._scenes.make(sweep)
        self._server.configure(latency_s=0.2)
        command = scene.start(*RUN)
        for _ in range(times):
            self._server.wait_received(self._server.state()["received"] + 40)
            self._toll.faults += 1
            self._go_away()
            self._pass_time(seconds)
            self._server.clear()
            ended = monotonic()
            back_s = self._back(command, ended) - ended
            self._toll.figures.append(f"{seconds:g} s away, back after {back_s:.1f} s")
            assert back_s <= BACK_AFTER_S[seconds], f"{back_s:.1f} s after {seconds:g} s"
            self._toll.survived += 1
        self._server.configure(latency_s=0.0)
        self._server.answer()
        assert self._ended(command) == 0, command.stderr
        self._whole(scene, expected)

    def long_outages(self, rounds: int) -> None:
        """In virtual time: the service is away for hours, and the run costs that time and nothing else."""
        for number in range(rounds):
            self._toll.faults += 1
            figure = anyio.run(_stay_away, self._scenes.folder / f"outage-{number}", self._chance)
            self._toll.figures.append(figure)
            self._toll.survived += 1

    def _fresh(self) -> None:
        self._server.forget()
        self._server.clear()
        self._server.configure(used=0, latency_s=0.0)

    def _undisturbed(self, sweep: Mapping[str, Any]) -> list[str]:
        """The rows of a run that nothing happens to, and no limit holds up."""
        self._fresh()
        calm = self._scenes.make({**sweep, "limits": {"max_in_flight": 32}})
        assert calm.sweep().code == 0
        rows = calm.rows()
        self._server.forget()
        return rows

    def _with_other_clock(self, scene: Scene) -> Command:
        clock_s = self._chance.choice((0.0, self._chance.uniform(-600.0, 600.0)))
        return scene.start(*RUN, faults=Faults(lease_s=LEASE_S, clock_s=clock_s), **HASTY)

    def _ended(self, command: Command) -> int:
        """Its exit code; also of a run that takes minutes because it keeps its rate."""
        end = monotonic() + LONG_S
        while command.poll() is None and monotonic() < end:
            command.pause()
        return command.wait()

    def _pass_time(self, seconds: float) -> None:
        anyio.run(anyio.sleep, seconds)

    def _go_away(self) -> None:
        if self._chance.random() < 0.5:
            self._server.fail_next(None, status=503, path=EVALUATION)
        else:
            self._server.play("reset", times=None, path=EVALUATION)

    def _back(self, command: Command, since: float) -> float:
        """When the first request that was answered after `since` had arrived."""
        end = monotonic() + LONG_S
        while monotonic() < end:
            for request in self._server.requests():
                if request["monotonic_s"] >= since and request["status"] == 200:
                    return float(request["monotonic_s"])
            assert command.poll() is None, f"it gave up: {command.stderr}"
            command.pause()
        raise AssertionError("it never asked again")

    def _whole(self, scene: Scene, expected: list[str]) -> None:
        rows = set(scene.rows())
        self._toll.lost += sum(row not in rows for row in expected)
        assert scene.is_sound()
        assert scene.succeeded_twice() == 0


def _has_answers(scene: Scene) -> bool:
    return scene.store.exists() and _answers(scene) > 0


def _answers(scene: Scene) -> int:
    return scene.count("SELECT count(*) FROM result") if scene.is_migrated() else 0


async def _turn_a_month(path: Path, chance: Random) -> str:
    """A service that counts an evaluation as it begins, or only as it ends, in months of UTC."""
    midnight = datetime(2027, chance.randint(2, 12), 1, tzinfo=UTC).timestamp()
    takes_s = chance.uniform(1.0, 3_000.0)
    billed_after_s = takes_s * chance.choice((0, 1))
    allotted = 2 * chance.randint(5, 40)
    in_flight = chance.choice((1, 8, 64))
    clock = FakeClock(midnight - chance.uniform(0.0, 3 * takes_s))

    class KnownCost(ScriptedKind):
        def expected_tests(self, labels: Mapping[str, Any]) -> int:
            return 2

    def billed(month: str) -> int:
        times = (start.at + billed_after_s for start in service.recording.started)
        return sum(2 for at in times if at <= clock.now() and _month(at) == month)

    class Monthly(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            return Allotment(used=billed(_month(clock.now())), allotted=allotted)

    service = Monthly(
        good,
        kind=chance.choice((KnownCost, ScriptedKind)),
        allotment=Allotment(used=0, allotted=allotted),
        takes_s=takes_s,
    )
    of = scripted_sweep(service, repeats=int(allotted * 1.3), limits={"max_in_flight": in_flight})
    async with opened(path, service, clock, settings=RARE_POLLS) as engine, clock.jumping():
        run, status = await finished(engine, of)
        for _ in range(8):
            if status.reason is not StopReason.QUOTA:
                break
            assert status.resume_at is not None
            await clock.sleep(status.resume_at - clock.now())
            status = await run.execute()
    months = sorted({_month(start.at + billed_after_s) for start in service.recording.started})
    used = [billed(month) for month in months]
    figure = f"{used} of {allotted} a month, {in_flight} in flight"
    assert max(used) <= allotted, figure
    assert status.state is RunState.FINISHED, f"{status.message}: {figure}"
    return figure


def _month(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


async def _stay_away(path: Path, chance: Random) -> str:
    """A service that cannot be reached for hours, from some moment in a run."""
    clock = FakeClock()
    away_s = chance.uniform(1.0, 11.0) * HOUR_S
    begins = clock.now() + chance.uniform(10.0, 60.0)
    ends = begins + away_s
    in_flight = chance.choice((1, 4, 16))
    takes_s = 10.0

    def script(job: Job) -> Answer | Exception:
        return Unreachable("no connection") if begins <= clock.now() < ends else good(job)

    service = ScriptedService(script, takes_s=takes_s)
    of = scripted_sweep(service, repeats=10 * in_flight, limits={"max_in_flight": in_flight})
    async with opened(path, service, clock, settings=RARE_POLLS) as engine, clock.jumping():
        _, status = await finished(engine, of)
    late_s = clock.now() - ends
    in_vain = sum(begins < start.at < ends - takes_s for start in service.recording.started)
    figure = (
        f"{away_s / HOUR_S:.1f} h away, {in_vain} requests in vain, done {late_s:.0f} s after it"
    )
    assert status.state is RunState.FINISHED, f"{status.message}: {figure}"
    assert (status.jobs["succeeded"], status.jobs["failed"]) == (10 * in_flight, 0)
    assert late_s <= 10 * takes_s + 90.0, figure
    assert in_vain <= in_flight + 15 + away_s / 60.0, figure
    return figure
