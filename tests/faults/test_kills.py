"""Killed at any moment: no answer is lost, nothing succeeds twice, only what was in flight goes again."""

from random import Random
from typing import Any

from tests.contracts.process import ContractServerProcess
from tests.faults.failpoints import Faults
from tests.faults.sweeps import Scene, Scenes, crisis, small

KILLS = 10
JOBS = 400
KILLED = -9


def test_ten_kills_leave_the_rows_of_an_undisturbed_run(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    calm = scenes.make(many(server))
    assert calm.sweep().code == 0
    expected = calm.rows()
    server.forget()
    server.configure(
        latency_s=0.02, fault_probability=0.1, fault_kinds=["status", "reset"], fault_seed=7
    )
    for _ in range(3):
        server.fail_next(2, status=429, retry_after="0")
    chance = Random(20261121)

    scene = scenes.make(many(server))
    in_flight = 0
    for kill in range(KILLS):
        command = ("run", "sweep.json") if kill % 2 == 0 else ("resume", "crisis")
        killed = scene.run(*command, faults=Faults(at=chance.randint(3, 18), of=("answer",)))
        assert killed.code == KILLED, killed.stderr
        in_flight += scene.in_flight()
        assert scene.is_sound()
    last = scene.run_installed("run", "sweep.json")

    assert last.code == 0, last.stderr
    assert scene.rows() == expected
    assert scene.succeeded_twice() == 0
    check_requests(scene, server, in_flight)


def many(server: ContractServerProcess) -> dict[str, Any]:
    sweep = crisis(server.url)
    sweep["matrix"]["repeats"] = JOBS // 4
    return sweep


def check_requests(scene: Scene, server: ContractServerProcess, in_flight: int) -> None:
    """Each request is a job's first, or follows an injected fault, or what a kill had in flight."""
    outcomes = dict(scene.ask("SELECT outcome, count(*) FROM attempt GROUP BY outcome"))
    received = server.state()["received"]
    retried = outcomes.get("failed", 0) + outcomes.get("rate_limited", 0)
    assert outcomes.pop("succeeded") == JOBS
    assert outcomes.get("lost", 0) == in_flight
    assert received <= JOBS + in_flight + retried
    statuses = server.state()["statuses"]
    # Every fault that was answered with before a kill, and was taken note of, is an attempt on record.
    assert retried <= statuses.get("503", 0) + statuses.get("429", 0) + statuses.get("None", 0)
    assert received <= scene.sent()


def test_a_death_before_the_run_is_in_the_store_leaves_nothing_to_resume_and_all_to_run(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(small(server.url))
    killed = scene.sweep(Faults(at=1, of=("committed",)))
    assert killed.code == KILLED
    assert scene.is_migrated()
    assert not scene.has_run()

    resumed = scene.run("resume", "crisis")
    run = scene.sweep()

    assert resumed.code == 2
    assert "the store has no run 'crisis'; there are none" in resumed.stderr
    assert run.code == 0, run.stderr
    assert scene.sent() == 6
    assert scene.succeeded_twice() == 0


def test_a_matrix_that_was_half_written_is_completed_on_resume(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=600)
    sweep = crisis(server.url)
    sweep["matrix"]["repeats"] = 5_000
    scene = scenes.make(sweep)
    # After the question for the quota, the first request leaves while the matrix is still being written.
    assert scene.sweep(Faults(at=2, of=("request",))).code == KILLED
    written = scene.count("SELECT count(*) FROM job")
    assert 0 < written < 20_000

    resumed = scene.start("resume")
    resumed.until(
        lambda: scene.count("SELECT count(*) FROM run WHERE expanded = digest") == 1,
        "the whole matrix",
    )
    resumed.kill()

    assert scene.is_sound()
    assert scene.count("SELECT count(*) FROM job") == 20_000
    assert scene.count("SELECT count(DISTINCT key) FROM job") == 20_000


def test_a_job_that_kills_its_process_each_time_fails_after_its_attempts_and_the_run_goes_on(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    sweep = small(server.url, retry={"attempts": 3, "base_delay_s": 0.01, "max_delay_s": 0.02})
    sweep["limits"] = {"max_in_flight": 1}
    sweep["matrix"] |= {"models": ["deadly/model", "spared/model"], "repeats": 1}
    scene = scenes.make(sweep)
    deadly = Faults(poison="deadly/model")

    codes = [scene.run("run", "sweep.json", faults=deadly).code for _ in range(4)]

    assert codes == [KILLED, KILLED, KILLED, 1]
    rows = dict(scene.ask("SELECT lane, state FROM job"))
    assert rows == {"deadly/model": "failed", "spared/model": "succeeded"}
    [(error,)] = scene.ask("SELECT error FROM job WHERE state = 'failed'")
    assert "the process that was working on it died" in error
    assert scene.sent() == 4


def test_a_worker_that_was_killed_is_another_worker_when_it_is_back(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(small(server.url))

    codes = [scene.sweep(Faults(at=at, of=("answer",))).code for at in (2, 2, 2, 99)]

    assert codes == [KILLED, KILLED, KILLED, 0]
    assert scene.count("SELECT count(DISTINCT id) FROM worker") == 4
    assert scene.count("SELECT count(DISTINCT worker) FROM attempt") == 4
    assert scene.count("SELECT count(*) FROM worker WHERE ended_at IS NULL") == 0
    left = {path.name for path in scene.folder.glob("store.db.workers/*")}
    assert left == {"migration.lock"}
