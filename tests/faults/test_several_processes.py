"""Two and four processes on one run: each job once, no process starves, rate and quota hold in sum."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from engine.core.rates import GUARD_S, PACE
from tests.contracts.process import ContractServerProcess
from tests.faults.failpoints import Faults, steps_in, trace_of
from tests.faults.scenarios import AGES_S
from tests.faults.sweeps import Scene, Scenes, crisis, small
from tests.launcher.processes import Command

SLOTS = 8
"""How many requests a `crisis` has in flight at most: shared evenly between the processes on it."""
ROUNDS = 4


def most_within(starts: Sequence[float], window_s: float) -> int:
    """The most starts that any window of that length sees."""
    times = sorted(starts)
    first = most = 0
    for last, at in enumerate(times):
        while at - times[first] > window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_open_a_store_at_once_do_each_job_once_and_all_get_some(
    processes: int, server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))

    commands = [scene.start("run", "sweep.json", NIGHTSWEEP_POLL_S="0.2") for _ in range(processes)]
    until_all_are_there(scene, commands)
    # One request of each of the two groups goes first: its answer tells what the others cost.
    server.wait_received(2)
    taken = attempts(scene)
    for _ in range(ROUNDS):
        server.answer()
        taken = wait_all_have_more(scene, commands, server, taken)
    server.configure(latency_s=0.0)
    server.answer()

    assert [command.wait() for command in commands] == [0] * processes
    assert server.state()["received"] == 200
    assert scene.succeeded_twice() == 0
    assert scene.count("SELECT count(*) FROM run") == 1
    shares = attempts(scene)
    assert len(shares) == processes
    assert min(shares.values()) >= ROUNDS * SLOTS / processes


def attempts(scene: Scene) -> Counter[str]:
    """How often each process has taken a job."""
    return Counter(dict(scene.ask("SELECT worker, count(*) FROM attempt GROUP BY worker")))


def wait_all_have_more(
    scene: Scene, commands: Sequence[Command], server: ContractServerProcess, before: Counter[str]
) -> Counter[str]:
    """Wait until each process has taken its share of the slots once more; how many each has then.

    All that it has taken by then has arrived at the server, which answers it at its next `play`.
    """
    share = SLOTS // len(commands)
    now = before

    def have_more() -> bool:
        nonlocal now
        received = server.state()["received"]
        now = attempts(scene)
        more = [count - before[worker] for worker, count in now.items()]
        return len(now) == len(commands) and min(more) >= share and now.total() == received

    for command in commands:
        command.until(have_more, "all processes to get their share")
    return now


def until_all_are_there(scene: Scene, commands: Sequence[Command]) -> None:
    """Until all have signed on to the store and taken up its run: from then on they look for work."""

    def are_there() -> bool:
        return scene.has_run() and scene.count("SELECT count(*) FROM worker") == len(commands)

    for command in commands:
        command.until(are_there, "all processes to be there")


def test_eight_processes_that_open_a_new_store_at_once_migrate_it_once(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(small(server.url))
    trace = scene.folder / "trace"

    commands = [scene.start("run", "sweep.json", faults=Faults(trace=str(trace))) for _ in range(8)]

    assert [command.wait() for command in commands] == [0] * 8
    assert steps_in(trace)["migrated"] == 1
    assert scene.is_sound()
    assert scene.count("SELECT count(DISTINCT id) FROM worker") == 8
    assert (server.state()["received"], scene.succeeded_twice()) == (6, 0)


def test_processes_whose_clocks_differ_keep_one_rate_between_them_also_when_one_is_killed(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    rate_per_min = 1_200
    sweep = crisis(server.url, limits={"max_in_flight": 32, "rate_per_min": rate_per_min})
    sweep["matrix"]["repeats"] = 25
    scene = scenes.make(sweep)

    trace = scene.folder / "trace"

    def clock_faults(clock_s: float) -> Faults:
        return Faults(trace=str(trace), of=("request",), clock_s=clock_s)

    first, second = (
        scene.start("run", "sweep.json", faults=clock_faults(at)) for at in (0.0, 100.0)
    )
    server.wait_received(40)
    first.kill()
    third = scene.start("resume", faults=clock_faults(-100.0))

    assert (second.wait(), third.wait()) == (0, 0)
    began = [at for (at,) in scene.ask("SELECT started_at FROM worker")]
    assert max(began) - min(began) < 90
    state = server.state()
    # Starts at even distances, each late by the guard at most, and some that ask for something else.
    spacing_s = PACE * 60 / rate_per_min
    sent = [at for _, at in trace_of(trace)]
    for window_s in (1.0, 2.0, 5.0):
        assert most_within(sent, window_s) <= (window_s + GUARD_S) / spacing_s + 8
    starts = [at for (at,) in scene.ask("SELECT sent_at FROM attempt ORDER BY sent_at")]
    gaps = [after - before for before, after in pairwise(starts)]
    assert min(gaps) >= spacing_s - 0.002
    logs = [json.loads(log) for (log,) in scene.ask("SELECT log FROM rate_bucket")]
    # Every request has its slot; slots that a kill or a busy machine wasted are counted, too.
    assert max(sum(log[1::2]) for log in logs) >= state["received"]


def test_quota_is_not_exceeded_with_64_in_flight_in_each_of_two_processes(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=0.05, allotted=400)
    scene = scenes.make(crisis(server.url, limits={"max_in_flight": 128}))

    commands = [scene.start("run", "sweep.json") for _ in range(2)]
    codes = [command.wait() for command in commands]

    behaviour = server.state()["behaviour"]
    assert codes == [3, 3], [command.stderr for command in commands]
    assert server.state()["statuses"].get("403", 0) == 0
    assert behaviour["used"] <= 400
    status = scene.status()
    assert (status["reason"], status["jobs"]["failed"]) == ("quota", 0)
    # What is left would not have been enough for another job.
    assert 400 - behaviour["used"] < max(
        tests for (tests,) in scene.ask("SELECT max(tests) FROM result")
    )


def test_the_jobs_of_a_process_that_dies_are_done_by_the_one_beside_it(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))

    dying = scene.start("run", "sweep.json", faults=Faults(at=20, of=("answer",)))
    server.wait_received(1)
    other = scene.start("run", "sweep.json", NIGHTSWEEP_POLL_S="0.2")
    until_all_are_there(scene, [dying, other])
    server.configure(latency_s=0.1)
    server.answer()

    assert dying.wait() == -9
    assert other.wait() == 0
    lost = scene.count("SELECT count(*) FROM attempt WHERE outcome = 'lost'")
    assert 0 < lost <= 8
    assert server.state()["received"] <= 200 + lost
    assert scene.succeeded_twice() == 0
    assert scene.status()["cells_done"] == 400
