"""What stops a run of real processes from outside: a signal, a pause, a cancel, a key, a quota."""

import signal

import pytest

from tests.contracts.process import ContractServerProcess
from tests.faults.scenarios import start_held, wait_looked
from tests.faults.sweeps import KEY, Scenes, crisis

HASTY = {"NIGHTSWEEP_POLL_S": "0.2", "NIGHTSWEEP_HEARTBEAT_S": "0.3"}
PATIENT = {"NIGHTSWEEP_GRACE_S": "600"}
"""Waits for requests in flight for as long as a test may let them wait."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_requests_in_flight_end_and_gives_the_rest_back(
    number: int, server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(crisis(server.url))
    command = start_held(scene, server, PATIENT)

    command.send_signal(number)
    command.until(lambda: "stopping" in command.stderr, "the end of new requests")
    server.answer()

    assert command.wait() == 130, command.stderr
    assert scene.in_flight() == 0
    answered = scene.count("SELECT count(*) FROM job WHERE state = 'succeeded'")
    assert answered == server.state()["received"] == 10
    assert scene.count("SELECT count(*) FROM job WHERE state != 'succeeded' AND attempts > 0") == 0


def test_a_refused_key_stops_the_run_and_loses_nothing(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(crisis(server.url))
    command = start_held(scene, server)

    server.configure(keys=["another"], latency_s=0.0)
    server.answer()
    code = command.wait()

    assert code == 3, command.stderr
    status = scene.status()
    assert (status["reason"], status["jobs"]["failed"]) == ("unauthorized", 0)
    # One that was on its way when the key was refused, for each slot, and the question whether the
    # key is valid; nothing after that.
    assert server.state()["statuses"]["401"] <= 8 + 1
    server.configure(keys=None)
    assert scene.run("resume").code == 0
    assert scene.status()["cells_done"] == 400


def test_an_empty_quota_ends_the_run_with_the_day_to_resume(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(allotted=500)
    scene = scenes.make(crisis(server.url))

    first = scene.sweep()

    status = scene.status()
    assert first.code == 3, first.stderr
    assert (status["reason"], status["jobs"]["failed"]) == ("quota", 0)
    assert status["resume_at"] is not None
    assert server.state()["behaviour"]["used"] <= 500
    server.configure(allotted=1_000_000)
    assert scene.run("resume").code == 0
    assert scene.status()["cells_done"] == 400


def test_a_pause_reaches_a_running_process(server: ContractServerProcess, scenes: Scenes) -> None:
    scene = scenes.make(crisis(server.url))
    command = start_held(scene, server, HASTY)

    assert scene.run("pause").code == 0
    wait_looked(scene, command)
    server.answer()

    assert command.wait() == 3, command.stderr
    # Nothing was sent any more from when the pause was noticed.
    assert server.state()["received"] == 10
    server.configure(latency_s=0.0)
    assert scene.status()["state"] == "paused"
    assert scene.in_flight() == 0
    assert scene.run("resume").code == 0
    assert scene.status()["cells_done"] == 400


def test_a_cancel_keeps_the_answers_and_a_retry_brings_the_rest_back(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(crisis(server.url))
    command = start_held(scene, server, {**HASTY, **PATIENT})

    assert scene.run("cancel").code == 0
    wait_looked(scene, command)
    server.answer()

    assert command.wait() == 3, command.stderr
    server.configure(latency_s=0.0)
    cancelled = scene.status()
    assert cancelled["state"] == "cancelled"
    assert cancelled["jobs"]["succeeded"] == 10
    assert cancelled["jobs"]["pending"] == 0
    assert scene.run("retry", "--cancelled").code == 0
    assert scene.run("resume").code == 0
    assert scene.status()["cells_done"] == 400
    assert server.state()["received"] == 200


def test_what_a_killed_run_leaves_behind_holds_no_key(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(fault_probability=0.3, fault_kinds=["status", "reset"], fault_seed=1)
    scene = scenes.make(crisis(server.url))
    command = scene.start("run", "sweep.json")
    server.wait_received(60)

    command.kill()
    scene.run("status")

    left = b"".join(path.read_bytes() for path in scene.folder.rglob("*") if path.is_file())
    assert b"single_turn" in left
    assert KEY.encode() not in left
