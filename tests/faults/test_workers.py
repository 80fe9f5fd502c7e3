"""`nightsweep worker`: runs that others submitted are worked on by processes that come, go and die."""

import signal
from collections.abc import Sequence
from pathlib import Path

import anyio

from engine import Sweep, open_engine
from tests.contracts.process import ContractServerProcess
from tests.faults.scenarios import AGES_S
from tests.faults.sweeps import KEY, Scene, Scenes, crisis, small
from tests.launcher.processes import Command

HASTY = {"NIGHTSWEEP_POLL_S": "0.2", "NIGHTSWEEP_HEARTBEAT_S": "0.3"}
PATIENT = {**HASTY, "NIGHTSWEEP_GRACE_S": "600"}
FUNCTIONS = """
from engine import Sweep, job


@job
async def double(number: int) -> int:
    return 2 * number


sweep = Sweep("doubles", double, matrix={"number": [1, 2, 3]})
"""


def submit(scene: Scene, file: str = "sweep.json") -> None:
    """Write the sweep into the store, and leave its execution to others."""

    async def work() -> None:
        async with open_engine(scene.store) as engine:
            await engine.submit(Sweep.load(Path(scene.folder / file)))

    anyio.run(work)


def start_worker(scene: Scene, *arguments: str, **environment: str) -> Command:
    return scene.start("worker", *arguments, faults=None, **{**HASTY, **environment})


def wait_said(command: Command, text: str) -> None:
    command.until(lambda: text in command.stderr, f"the line {text!r}")


def wait_all_work(scene: Scene, server: ContractServerProcess, workers: Sequence[Command]) -> None:
    """Answer what is asked until each worker has jobs in flight."""

    def do_work() -> bool:
        query = "SELECT count(DISTINCT owner) FROM job WHERE state = 'running'"
        # No answer is on its way: what a worker has in flight now it keeps.
        if server.state()["in_flight"] != scene.in_flight():
            return False
        if scene.count(query) == len(workers):
            return True
        server.answer()
        return False

    for worker in workers:
        worker.until(do_work, "all to take jobs")


def state(scene: Scene) -> tuple[str, str | None]:
    [found] = scene.ask("SELECT state, reason FROM run")
    return found[0], found[1]


def test_workers_do_each_job_of_a_submitted_run_once_and_end(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))
    submit(scene)

    workers = [start_worker(scene), start_worker(scene)]
    wait_all_work(scene, server, workers)
    server.configure(latency_s=0.0)
    server.answer()

    assert [worker.wait() for worker in workers] == [0, 0], workers[0].stderr
    assert (server.state()["received"], scene.succeeded_twice()) == (200, 0)
    assert state(scene) == ("finished", None)
    assert "crisis: takes part" in workers[1].stderr


def test_a_worker_that_is_told_to_end_gives_its_jobs_back_and_the_run_goes_on(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))
    submit(scene)
    leaving, staying = start_worker(scene, NIGHTSWEEP_GRACE_S="0.1"), start_worker(scene)
    wait_all_work(scene, server, [leaving, staying])

    leaving.send_signal(signal.SIGTERM)

    assert leaving.wait() == 130, leaving.stderr
    assert state(scene) == ("active", None)
    assert scene.count("SELECT count(*) FROM attempt WHERE outcome = 'lost'") == 0
    given_back = scene.count("SELECT count(*) FROM attempt WHERE outcome = 'interrupted'")
    assert 0 < given_back <= 8
    server.configure(latency_s=0.0)
    server.answer()
    assert staying.wait() == 0, staying.stderr
    assert server.state()["received"] == 200 + given_back
    assert scene.status()["cells_done"] == 400


def test_a_worker_answers_what_is_in_flight_before_it_ends(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))
    submit(scene)
    worker = start_worker(scene, **PATIENT)
    server.wait_received(2)

    worker.send_signal(signal.SIGTERM)
    wait_said(worker, "stopping")
    server.answer()

    assert worker.wait() == 130
    assert scene.in_flight() == 0
    assert state(scene) == ("active", "interrupted")
    answered = scene.count("SELECT count(*) FROM job WHERE state = 'succeeded'")
    assert answered == server.state()["received"] > 0


def test_a_worker_without_the_key_says_so_and_takes_no_job(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(small(server.url))
    submit(scene)

    scene.environment = {}
    without = start_worker(scene)

    assert without.wait() == 2
    assert "FAULTS_KEY" in without.stderr
    assert "takes no job" in without.stderr
    assert (scene.sent(), server.state()["received"]) == (0, 0)
    assert state(scene) == ("active", None)
    scene.environment = {"FAULTS_KEY": KEY}
    assert start_worker(scene).wait() == 0
    assert scene.status()["cells_failed"] == 0
    assert KEY.encode() not in scene.store.read_bytes()


def test_a_worker_without_the_function_says_so_and_takes_no_job(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(small(server.url))
    script = scene.folder / "doubles.py"
    script.write_text(FUNCTIONS)
    submit(scene, "doubles.py:sweep")
    script.unlink()

    without = start_worker(scene)

    assert without.wait() == 2
    assert "doubles: takes no job of it" in without.stderr
    assert str(script) in without.stderr
    assert scene.sent() == 0
    script.write_text(FUNCTIONS)
    assert start_worker(scene).wait() == 0
    assert state(scene) == ("finished", None)


def test_a_worker_leaves_a_paused_run_alone_until_it_is_resumed(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))
    submit(scene)
    worker = start_worker(scene, "--stay", **PATIENT)
    server.wait_received(2)

    assert scene.run("pause").code == 0
    # It lets what is in flight end, and takes nothing more.
    worker.until(lambda: _has_noticed(scene, server), "its last request")
    wait_said(worker, "crisis: paused")
    sent = server.state()["received"]
    assert start_worker(scene).wait() == 0
    assert (server.state()["received"], state(scene)[0]) == (sent, "paused")
    server.configure(latency_s=0.0)
    assert scene.run("resume").code == 0

    assert scene.status()["cells_done"] == 400
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 130


def _has_noticed(scene: Scene, server: ContractServerProcess) -> bool:
    """Answer all that is asked until nothing is in flight."""
    server.answer()
    return scene.in_flight() == 0


def test_a_worker_that_stays_takes_up_runs_that_are_submitted_later(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(small(server.url))
    submit(scene)
    worker = start_worker(scene, "--stay")
    wait_said(worker, "crisis: finished")

    scene.write(small(server.url, name="later"))
    submit(scene)
    wait_said(worker, "later: finished")
    worker.send_signal(signal.SIGTERM)

    assert worker.wait() == 130
    # The second run reuses the answers of the first.
    assert server.state()["received"] == 6
    assert scene.count("SELECT count(*) FROM run WHERE state = 'finished'") == 2


def test_the_jobs_of_a_worker_that_is_killed_are_done_by_another(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))
    submit(scene)
    dying, staying = start_worker(scene), start_worker(scene)
    wait_all_work(scene, server, [dying, staying])
    held = scene.in_flight()

    dying.kill()
    server.configure(latency_s=0.0)
    server.answer()

    assert staying.wait() == 0, staying.stderr
    lost = scene.count("SELECT count(*) FROM attempt WHERE outcome = 'lost'")
    assert 0 < lost <= held
    assert server.state()["received"] <= 200 + lost
    assert (scene.succeeded_twice(), scene.status()["cells_done"]) == (0, 400)


def test_a_worker_has_no_more_in_flight_than_it_is_allowed(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))
    submit(scene)

    worker = start_worker(scene, "--in-flight", "3")
    server.wait_received(2)
    for _ in range(4):
        received = server.state()["received"]
        server.answer()
        server.wait_received(received + 1)

    assert server.state()["max_in_flight"] <= 3
    worker.kill()


def test_a_worker_of_a_store_without_open_runs_ends_at_once(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(small(server.url))
    assert scene.sweep().code == 0

    worker = start_worker(scene)

    assert worker.wait() == 0
    assert "no run has work left" in worker.stderr
    other = start_worker(scene, "crises")
    assert other.wait() == 2
    assert "crisis" in other.stderr


def test_a_run_whose_quota_is_used_up_ends_a_worker_as_incomplete(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(allotted=500)
    scene = scenes.make(crisis(server.url))
    submit(scene)

    worker = start_worker(scene)

    assert worker.wait() == 3, worker.stderr
    assert state(scene) == ("active", "quota")
