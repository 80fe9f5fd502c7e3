"""Commands to be killed at each of their steps, and what none of these kills may change."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.contracts.process import ContractServerProcess
from tests.faults.failpoints import STEPS, Faults, steps_in
from tests.faults.sweeps import Scene, Scenes, crisis, small
from tests.launcher.processes import Command

KILLED = -9
EXHAUSTED = 3
COMMITS = ("commit", "committed")
AGES_S = 600.0
"""A latency that outlasts every test: the server answers only on request."""
EVALUATION = "/singleturn"
"""In the path of every evaluation, and of no question."""

_COUNTED = "SELECT sum(used + reserved) FROM quota WHERE name LIKE 'requests of %'"
_WAITING = "FROM job WHERE state IN ('pending', 'waiting')"
_FAILED = "SELECT count(*) FROM job WHERE state = 'failed'"

Prepare = Callable[[Scene, ContractServerProcess], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A command on a store that was prepared; `then` is what a user does after it, or after its death.

    `whole` counts what the command changes in one go: after a kill it is what it was, or what it
    should become.
    """

    name: str
    prepare: Prepare
    command: tuple[str, ...]
    then: tuple[tuple[str, ...], ...]
    whole: str = "SELECT 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """One kill that was survived."""

    step: int
    in_flight: int
    sent_again: int


class Trial:
    """A scenario, prepared and once left alone: what each kill is compared with."""

    def __init__(self, scenario: Scenario, scenes: Scenes, server: ContractServerProcess) -> None:
        self._scenario = scenario
        self._scenes = scenes
        self._server = server
        self._origin = scenes.make(_capped(server))
        scenario.prepare(self._origin, server)
        self._used_before = server.state()["behaviour"]["used"]
        self._before = self._whole(self._origin)
        self._counted_before = self._counted(self._origin)
        calm = self._copy()
        trace = calm.folder / "trace"
        ended = calm.run(*scenario.command, faults=Faults(trace=str(trace)))
        assert ended.code == 0, ended.stderr
        self.steps: Counter[str] = steps_in(trace)
        self._after = self._whole(calm)
        self._finish(calm)
        self._expected = calm.rows()
        self._received = server.state()["received"]

    def _counted(self, scene: Scene) -> int:
        """Requests that the store counts as used of the run's cap, or holds for those in flight."""
        return scene.count(_COUNTED) if scene.is_migrated() else 0

    def kills(self, steps: Iterable[int], of: tuple[str, ...] = STEPS) -> Iterator[Survival]:
        """Kill the command at each of these steps, up to the first that it does not reach."""
        for step in steps:
            scene = self._copy()
            killed = scene.run(*self._scenario.command, faults=Faults(at=step, of=of))
            if killed.code == 0:
                return
            assert killed.code == KILLED, killed.stderr
            yield self._survived(scene, step)

    def _copy(self) -> Scene:
        self._server.forget()
        self._server.configure(used=self._used_before)
        return self._scenes.copy(self._origin)

    def _whole(self, scene: Scene) -> int:
        return scene.count(self._scenario.whole) if scene.is_migrated() else 0

    def _finish(self, scene: Scene) -> None:
        for command in self._scenario.then:
            ended = scene.run(*command)
            assert ended.code == 0, ended.stderr

    def _survived(self, scene: Scene, step: int) -> Survival:
        assert scene.is_sound()
        in_flight = scene.in_flight() if scene.is_migrated() else 0
        assert self._whole(scene) in (self._before, self._after)

        self._finish(scene)

        assert scene.is_sound()
        assert scene.rows() == self._expected
        assert scene.succeeded_twice() == 0
        assert scene.in_flight() == 0
        state = self._server.state()
        assert state["received"] <= self._received + in_flight
        # Nothing is sent that the store does not know of, nothing is charged that it does not count.
        assert state["received"] <= scene.sent()
        used = scene.count("SELECT sum(used + overrun) FROM quota")
        assert used >= state["behaviour"]["used"] > 0
        # The service is never asked how much of the run's own cap is used.
        assert self._counted(scene) >= self._counted_before + state["received"]
        assert scene.count("SELECT sum(reserved) FROM quota") == 0
        sent_again = max(0, state["received"] - self._received)
        scene.remove()
        return Survival(step=step, in_flight=in_flight, sent_again=sent_again)


class ExpansionTrial:
    """A matrix that takes several commits to be written, of which no job can be sent for want of quota."""

    jobs = 2_500

    def __init__(self, scenes: Scenes, server: ContractServerProcess) -> None:
        self._scenes = scenes
        server.configure(allotted=0)
        self._sweep = crisis(server.url)
        self._sweep["matrix"] |= {"repeats": self.jobs // 4}
        calm = scenes.make(self._sweep)
        trace = calm.folder / "trace"
        assert calm.sweep(Faults(trace=str(trace), of=COMMITS)).code == EXHAUSTED
        self.steps = steps_in(trace).total()

    def kills(self, steps: Iterable[int]) -> Iterator[int]:
        """Kill the expansion at each of these commits; how many jobs had been written."""
        for step in steps:
            scene = self._scenes.make(self._sweep)
            killed = scene.sweep(Faults(at=step, of=COMMITS))
            if killed.code == EXHAUSTED:
                return
            assert killed.code == KILLED, killed.stderr
            assert scene.is_sound()
            written = scene.count("SELECT count(*) FROM job") if scene.is_migrated() else 0

            assert scene.sweep().code == EXHAUSTED

            assert scene.is_sound()
            assert scene.count("SELECT count(*) FROM run WHERE expanded = digest") == 1
            assert scene.count("SELECT count(*) FROM job") == self.jobs
            assert scene.count(f"SELECT count(DISTINCT key) {_WAITING}") == self.jobs
            scene.remove()
            yield written


def _capped(server: ContractServerProcess, *, repeats: int = 3) -> dict[str, Any]:
    """A small sweep that also counts its requests."""
    return small(server.url, repeats=repeats, limits={"max_in_flight": 8, "requests": 1_000})


def _nothing(scene: Scene, server: ContractServerProcess) -> None:
    """A folder without a store."""


def _failed(scene: Scene, server: ContractServerProcess) -> None:
    """A run whose every second job has failed."""
    server.configure(unknown_models=["qwen/qwen3"])
    assert scene.sweep().code == 1
    server.configure(unknown_models=[])


def learn(scene: Scene, server: ContractServerProcess) -> None:
    """Answer two jobs, so that the six others of the sweep, whose cost is then known, leave at once."""
    scene.write(_capped(server, repeats=1))
    assert scene.sweep().code == 0
    scene.write(_capped(server, repeats=4))
    server.forget()


def start_held(
    scene: Scene,
    server: ContractServerProcess,
    environment: Mapping[str, str] | None = None,
    *,
    rounds: int = 0,
) -> Command:
    """Start the run of a `crisis` and let it fill its 8 slots, `rounds` times again after 8 answers.

    The server holds the answers of these 8 until `server.answer()`.
    """
    server.configure(latency_s=AGES_S)
    command = scene.start("run", "sweep.json", faults=None, **(environment or {}))
    # One request of each of the two groups goes first: its answer tells what the others cost.
    server.wait_received(2)
    for number in range(rounds + 1):
        server.answer()
        server.wait_received(2 + 8 * (number + 1))
    return command


def wait_looked(scene: Scene, command: Command) -> None:
    """Until a process has looked at what others did to its run, and has written what it had to say.

    It beats its heart and then looks: when the second beat is there, it has looked after the first.
    """
    for _ in range(2):
        _wait_beat(scene, command)


def _wait_beat(scene: Scene, command: Command) -> None:
    beat = "SELECT heartbeat_at FROM worker WHERE pid = ?"
    before = scene.ask(beat, command.pid)
    command.until(lambda: scene.ask(beat, command.pid) != before, "a heartbeat")


def _died(scene: Scene, server: ContractServerProcess) -> None:
    """A run whose process died with six requests in flight."""
    learn(scene, server)
    server.play("hang", times=6, path=EVALUATION)
    dying = scene.start("run", "sweep.json")
    server.wait_received(6)
    dying.kill()
    server.clear()
    assert scene.in_flight() == 6


def _changed(scene: Scene, server: ContractServerProcess) -> None:
    """A run that is done, and a file that asks for other cells."""
    assert scene.sweep().code == 0
    sweep = _capped(server, repeats=4)
    sweep["matrix"] |= {"models": ["qwen/qwen3", "mistral/large"], "thresholds": [0.2, 0.5, 0.7]}
    scene.write(sweep)


def _exhausted(scene: Scene, server: ContractServerProcess) -> None:
    """A run that has come to the end of its quota."""
    server.configure(allotted=30)
    assert scene.sweep().code == EXHAUSTED
    server.configure(allotted=10_000_000)


RUN = Scenario(
    name="run",
    prepare=_nothing,
    command=("run", "sweep.json"),
    then=(("run", "sweep.json"),),
)
RETRY = Scenario(
    name="retry",
    prepare=_failed,
    command=("retry",),
    then=(("retry",), ("resume",)),
    whole=_FAILED,
)
RESUME = Scenario(
    name="resume after a death",
    prepare=_died,
    command=("resume",),
    then=(("run", "sweep.json"),),
)
CHANGE = Scenario(
    name="run of a changed sweep",
    prepare=_changed,
    command=("run", "sweep.json"),
    then=(("run", "sweep.json"),),
)
CANCEL = Scenario(
    name="cancel",
    prepare=_exhausted,
    command=("cancel",),
    then=(("cancel",),),
    whole=f"SELECT count(*) {_WAITING}",
)
SCENARIOS = (RUN, RETRY, RESUME, CHANGE, CANCEL)
