"""SIGSTOP past the lease, then SIGCONT: what a process does that others have given up."""

import signal
import sqlite3
from contextlib import closing

from tests.contracts.process import ContractServerProcess
from tests.faults.failpoints import Faults
from tests.faults.processes import Command
from tests.faults.scenarios import EVALUATION, learn
from tests.faults.sweeps import Scene, Scenes, crisis

LEASE_S = 1.0
JOBS = "SELECT state, fence, id, attempts, error FROM job ORDER BY fence, id"
HASTY = {"NIGHTSWEEP_POLL_S": "0.2", "NIGHTSWEEP_HEARTBEAT_S": "0.3"}


def start(scene: Scene, *arguments: str, faults: Faults) -> Command:
    return scene.start(*arguments, faults=faults, **HASTY)


def stop(scene: Scene, command: Command) -> None:
    """SIGSTOP between two of its transactions: within one it would hold SQLite's lock for ever."""
    with closing(sqlite3.connect(scene.store, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        command.send_signal(signal.SIGSTOP)
        command.wait_stopped()
        connection.execute("ROLLBACK")


def held_by(scene: Scene, command: Command) -> int:
    query = "SELECT count(*) FROM job JOIN worker ON owner = worker.id WHERE pid = ?"
    return scene.count(query, command.pid)


def test_a_stopped_process_keeps_its_jobs_while_it_is_not_given_up(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=0.1)
    scene = scenes.make(crisis(server.url))
    stopped = start(scene, "run", "sweep.json", faults=Faults())
    server.wait_received(20)
    stop(scene, stopped)
    held = held_by(scene, stopped)

    other = start(scene, "resume", faults=Faults())
    server.wait_received(server.state()["received"] + 40)
    still_held = held_by(scene, stopped)
    stopped.send_signal(signal.SIGCONT)

    assert (stopped.wait(), other.wait()) == (0, 0)
    assert held > 0
    assert still_held == held
    assert scene.succeeded_twice() == 0
    assert server.state()["received"] == 200


def test_the_failures_of_a_process_that_was_given_up_change_nothing(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make({})
    learn(scene, server)
    server.play("hang", times=6, path=EVALUATION)
    stopped = start(scene, "run", "sweep.json", faults=Faults(lease_s=LEASE_S))
    server.wait_received(6)
    stop(scene, stopped)

    other = start(scene, "resume", faults=Faults(lease_s=LEASE_S))
    assert other.wait() == 0
    before = scene.ask(JOBS)
    # Its six connections are reset: six failures of jobs that are no longer its own.
    server.clear()
    stopped.send_signal(signal.SIGCONT)

    assert stopped.wait() == 0
    assert scene.ask(JOBS) == before
    assert [(state, fence) for state, fence, *_ in before] == [
        *[("succeeded", 1)] * 2,
        *[("succeeded", 2)] * 6,
    ]
    assert scene.ask("SELECT outcome, count(*) FROM attempt GROUP BY outcome ORDER BY outcome") == [
        ("lost", 6),
        ("succeeded", 8),
    ]
    assert scene.succeeded_twice() == 0


def test_the_late_answers_of_a_process_that_was_given_up_are_kept_once(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make({})
    learn(scene, server)
    server.configure(latency_s=2.0)
    stopped = start(scene, "run", "sweep.json", faults=Faults(lease_s=LEASE_S))
    server.wait_received(6)
    stop(scene, stopped)
    server.configure(latency_s=0.0)
    # Whoever takes its jobs over gets no answer while the first owner comes back with its own.
    server.play("hang", times=None, path=EVALUATION)
    other = start(scene, "resume", faults=Faults(lease_s=LEASE_S))
    server.wait_received(12)

    stopped.send_signal(signal.SIGCONT)
    while scene.count("SELECT count(*) FROM result") < 8:
        assert other.poll() is None, other.stderr
        other.pause()
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
