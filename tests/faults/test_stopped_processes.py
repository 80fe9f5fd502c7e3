"""SIGSTOP past the lease, then SIGCONT: what a process does that others have given up."""

import signal

from tests.contracts.process import ContractServerProcess
from tests.faults.failpoints import Faults
from tests.faults.scenarios import AGES_S, EVALUATION, learn, start_held, wait_looked
from tests.faults.sweeps import Scene, Scenes, crisis
from tests.launcher.processes import Command

HASTY_LEASE = Faults(lease_s=1.0)
"""For the process that gives up a stopped one; the stopped one has the whole lease."""
JOBS = "SELECT state, fence, id, attempts, error FROM job ORDER BY fence, id"
HASTY = {"NIGHTSWEEP_POLL_S": "0.2", "NIGHTSWEEP_HEARTBEAT_S": "0.3"}


def start(scene: Scene, *arguments: str, faults: Faults | None = None) -> Command:
    return scene.start(*arguments, faults=faults, **HASTY)


def stop(scene: Scene, command: Command) -> int:
    """SIGSTOP between two of its transactions: within one it would hold SQLite's lock for ever.

    Returns how many jobs it holds.
    """
    with scene.locked() as held_by:
        command.send_signal(signal.SIGSTOP)
        command.wait_stopped()
        return held_by(command.pid)


def test_a_stopped_process_keeps_its_jobs_while_it_is_not_given_up(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(crisis(server.url))
    stopped = start_held(scene, server, HASTY)
    held = stop(scene, stopped)

    server.configure(latency_s=0.0)
    other = start(scene, "resume", faults=Faults(lease_s=AGES_S))
    server.wait_received(server.state()["received"] + 40)
    with scene.locked() as held_by:
        still_held = held_by(stopped.pid)
    server.answer()
    stopped.send_signal(signal.SIGCONT)

    assert (stopped.wait(), other.wait()) == (0, 0)
    assert (held, still_held) == (8, 8)
    assert scene.succeeded_twice() == 0
    assert server.state()["received"] == 200


def test_the_failures_of_a_process_that_was_given_up_change_nothing(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make({})
    learn(scene, server)
    server.play("hang", times=6, path=EVALUATION)
    stopped = start(scene, "run", "sweep.json")
    server.wait_received(6)
    stop(scene, stopped)
    # Its six connections are reset: six failures, of jobs that others have when it goes on.
    server.clear()
    server.play("hang", times=6, path=EVALUATION)
    other = start(scene, "resume", faults=HASTY_LEASE)
    server.wait_received(12)
    before = scene.ask(JOBS)

    stopped.send_signal(signal.SIGCONT)
    # What it had to say came before its second heartbeat: it is written in order.
    wait_looked(scene, stopped)
    after = scene.ask(JOBS)
    server.clear()

    assert (stopped.wait(), other.wait()) == (0, 0)
    assert after == before
    assert [(state, fence) for state, fence, *_ in after] == [
        *[("succeeded", 1)] * 2,
        *[("running", 2)] * 6,
    ]
    assert scene.succeeded_twice() == 0
    assert scene.status()["cells_done"] == 16


def test_answers_that_come_late_to_jobs_that_have_one_change_nothing(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make({})
    learn(scene, server)
    server.configure(latency_s=AGES_S)
    stopped = start(scene, "run", "sweep.json")
    server.wait_received(6)
    stop(scene, stopped)
    server.configure(latency_s=0.0)
    assert start(scene, "resume", faults=HASTY_LEASE).wait() == 0
    before = (scene.ask(JOBS), scene.rows())

    server.answer()
    stopped.send_signal(signal.SIGCONT)

    assert stopped.wait() == 0, stopped.stderr
    assert (scene.ask(JOBS), scene.rows()) == before
    assert (scene.count("SELECT count(*) FROM result"), server.state()["received"]) == (8, 12)


def test_the_late_answers_of_a_process_that_was_given_up_are_kept_once(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make({})
    learn(scene, server)
    server.configure(latency_s=AGES_S)
    stopped = start(scene, "run", "sweep.json")
    server.wait_received(6)
    stop(scene, stopped)
    server.configure(latency_s=0.0)
    # The process that takes its jobs over gets no answer while the first owner comes back with its own.
    server.play("hang", times=None, path=EVALUATION)
    other = start(scene, "resume", faults=HASTY_LEASE)
    server.wait_received(12)

    server.answer()
    stopped.send_signal(signal.SIGCONT)
    other.until(lambda: scene.count("SELECT count(*) FROM result") == 8, "the late answers")
    server.clear()

    assert (stopped.wait(), other.wait()) == (0, 0)
    assert scene.succeeded_twice() == 0
    assert scene.status()["cells_done"] == 16
    assert scene.count("SELECT count(*) FROM job WHERE error IS NOT NULL") == 0
    answered_by = dict(
        scene.ask(
            "SELECT pid, count(*) FROM attempt JOIN worker ON worker = worker.id"
            " WHERE outcome = 'succeeded' GROUP BY pid"
        )
    )
    assert answered_by[stopped.pid] == 6
    assert other.pid not in answered_by
    assert server.state()["received"] == 12
