"""Runs on Dask: real schedulers and workers on loopback, which join late, are killed, and are told to end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from engine import RunState, open_run
from engine.clock import SystemClock
from engine.cluster.placement import Placement
from engine.cluster.runner import check_place, run_lanes
from engine.core.errors import UsageError
from engine.core.rates import GUARD_S, PACE
from tests.contracts.process import ContractServerProcess
from tests.faults.scenarios import AGES_S
from tests.faults.sweeps import Scene, Scenes, crisis, small
from tests.faults.test_several_processes import most_within
from tests.patience import until, wait_ended, with_stacks

DASK = Path(sys.executable).with_name("dask")
HASTY = {"NIGHTSWEEP_POLL_S": "0.2", "NIGHTSWEEP_HEARTBEAT_S": "0.3"}


class Cluster:
    """A Dask scheduler and its workers, each a process of its own, which end with the block."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._file = scene.folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")
        until(self._file.exists, "the scheduler")

        self.address: str = json.loads(self._file.read_text())["address"]

    def start_worker(self, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a worker of one thread; without a nanny, it is a single process."""
        return self._start(
            *("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"),
            *("--local-directory", str(self._scene.folder)),
            **environment,
        )

    def _start(
        self, command: str, *arguments: str, **environment: str
    ) -> "subprocess.Popen[bytes]":
        program = [str(DASK), command, "--host", "127.0.0.1"]
        with (self._scene.folder / f"dask-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                [*program, "--scheduler-file", str(self._file), *arguments],
                cwd=self._scene.folder,
                env={**with_stacks(), **HASTY, **environment},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def clustered(scene: Scene) -> Iterator[Cluster]:
    cluster = Cluster(scene)
    try:
        yield cluster
    finally:
        cluster.end()


@contextmanager
def running(scene: Scene, *arguments: str, **environment: str) -> "Iterator[subprocess.Popen[str]]":
    """The installed command in a session of its own, killed with all its processes at the end of the block."""
    nightsweep = Path(sys.executable).with_name("nightsweep")
    process = subprocess.Popen(  # noqa: S603
        [str(nightsweep), *arguments, "--store", str(scene.store)],
        cwd=scene.folder,
        env={**with_stacks(), **HASTY, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for one in in_session(process.pid):
            one.kill()
        process.communicate()


def in_session(leader: int) -> list[psutil.Process]:
    """The processes of a session that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def held_by(scene: Scene, pid: int) -> int:
    """How many jobs a process has in flight."""
    query = "SELECT count(*) FROM job JOIN worker ON owner = worker.id WHERE pid = ?"
    return scene.count(query, pid)


def signed_on(scene: Scene) -> set[int]:
    """The processes that have signed on to the store."""
    return {pid for (pid,) in scene.ask("SELECT pid FROM worker")}


def senders(scene: Scene) -> set[int]:
    """The processes that have taken jobs."""
    if not scene.store.exists() or not scene.has_run():
        return set()
    return {
        pid
        for (pid,) in scene.ask("SELECT pid FROM worker WHERE id IN (SELECT worker FROM attempt)")
    }


def wait_for(command: "subprocess.Popen[str]", happened: Callable[[], bool], what: str) -> None:
    def has_happened() -> bool:
        if happened():
            return True
        assert command.poll() is None, f"it has ended before {what}: {command.communicate()}"
        return False

    until(has_happened, what)


def lost(scene: Scene) -> int:
    return scene.count("SELECT count(*) FROM attempt WHERE outcome = 'lost'")


def test_workers_and_the_scheduler_are_killed_and_no_answer_is_lost_nor_the_rate_exceeded(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    rate_per_min = 2_400
    server.configure(latency_s=0.3)
    sweep = crisis(server.url, limits={"max_in_flight": 32, "rate_per_min": rate_per_min})
    sweep["matrix"]["repeats"] = 150
    scene = scenes.make(sweep)
    key = scene.environment

    with clustered(scene) as cluster:
        workers = [cluster.start_worker(**key) for _ in range(4)]
        # The process that submits has no key: each worker has its own.
        with running(scene, "run", "sweep.json", "--on", cluster.address) as command:
            pids = {worker.pid for worker in workers}
            wait_for(command, lambda: senders(scene) == pids, "all four to take jobs")

            wait_for(command, lambda: held_by(scene, workers[0].pid) > 0, "jobs in flight")
            workers[0].kill()
            late = cluster.start_worker(**key)
            wait_for(command, lambda: held_by(scene, late.pid) > 0, "the late worker to take part")
            wait_for(command, lambda: lost(scene) > 0, "its jobs to be taken back")
            lost_with_worker = lost(scene)

            cluster.scheduler.kill()
            _, stderr = wait_ended(command)

        assert command.returncode == 130, stderr
        assert "the Dask scheduler has gone" in stderr
        for worker in [*workers[1:], late]:
            worker.wait()
        # They gave back what they had in flight.
        assert (scene.in_flight(), lost(scene)) == (0, lost_with_worker)
        assert scene.count("SELECT count(*) FROM job WHERE state != 'succeeded'") > 0
    server.configure(latency_s=0.0)
    assert scene.run("resume").code == 0

    assert (scene.succeeded_twice(), scene.status()["cells_done"]) == (0, 1_200)
    assert scene.is_sound()
    given_back = scene.count("SELECT count(*) FROM attempt WHERE outcome = 'interrupted'")
    assert lost_with_worker <= 32
    assert server.state()["received"] <= 600 + lost_with_worker + given_back
    # All starts together are at even distances, so that no 60 s have more than the rate.
    spacing_s = PACE * 60 / rate_per_min
    sent = [at for (at,) in scene.ask("SELECT sent_at FROM attempt ORDER BY sent_at")]
    assert min(after - before for before, after in pairwise(sent)) >= spacing_s - 0.002
    assert most_within(sent, 60.0) <= rate_per_min
    arrivals = server.state()["arrivals"]
    for window_s in (5.0, 10.0):
        assert most_within(arrivals, window_s) <= (window_s + GUARD_S) / spacing_s + 8


def test_processes_of_this_machine_are_replaced_when_killed_and_give_back_jobs_at_ctrl_c(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    sweep = crisis(server.url)
    sweep["matrix"]["repeats"] = 200
    scene = scenes.make(sweep)
    scratch = scene.folder / "scratch"
    scratch.mkdir()

    environment = {**scene.environment, "TMPDIR": str(scratch), "NIGHTSWEEP_GRACE_S": "0.2"}
    with running(scene, "run", "sweep.json", "--on", "local:2", **environment) as command:
        both_work = _answering(server, lambda: len(_holders(scene)) == 2)
        wait_for(command, both_work, "both processes to take jobs")
        listeners = {
            listener.laddr.ip
            for process in in_session(command.pid)
            for listener in process.net_connections("tcp")
            if listener.status == psutil.CONN_LISTEN
        }
        assert listeners == {"127.0.0.1"}

        before = signed_on(scene)
        os.kill(min(_holders(scene)), signal.SIGKILL)
        wait_for(command, lambda: signed_on(scene) > before, "another process in its place")
        [new] = signed_on(scene) - before
        is_at_work = _answering(server, lambda: held_by(scene, new) > 0)
        wait_for(command, is_at_work, "it to take part")
        lost_with_it = lost(scene)

        # As a terminal does, all processes get it.
        os.killpg(command.pid, signal.SIGINT)
        _, stderr = wait_ended(command)
        until(lambda: not in_session(command.pid), "the end of all processes")

    assert command.returncode == 130, stderr
    assert (scene.in_flight(), lost(scene)) == (0, lost_with_it)
    assert 0 < lost_with_it <= 8
    assert list(scratch.iterdir()) == []
    server.configure(latency_s=0.0)
    server.answer()
    assert scene.run("resume").code == 0
    assert (scene.succeeded_twice(), scene.status()["cells_done"]) == (0, 1_600)


def _holders(scene: Scene) -> set[int]:
    """The processes that have jobs in flight."""
    if not scene.store.exists() or not scene.has_run():
        return set()
    return {
        pid for (pid,) in scene.ask("SELECT pid FROM worker WHERE id IN (SELECT owner FROM job)")
    }


def _answering(server: ContractServerProcess, happened: Callable[[], bool]) -> Callable[[], bool]:
    """Look whether it has happened, and if not, let the requests in flight be answered."""

    def look() -> bool:
        if happened():
            return True
        server.answer()
        return False

    return look


def test_a_run_goes_on_and_is_paused_without_the_process_that_started_it(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene = scenes.make(crisis(server.url))

    with clustered(scene) as cluster, ExitStack() as stack:
        without_key = cluster.start_worker()
        command = stack.enter_context(running(scene, "run", "sweep.json", "--on", cluster.address))
        _, stderr = wait_ended(command)
        # A worker that lacks the key takes no job; with it, the same command goes on.
        assert (command.returncode, scene.sent()) == (2, 0), stderr
        assert "FAULTS_KEY" in stderr
        without_key.kill()
        cluster.start_worker(**scene.environment)
        command = stack.enter_context(running(scene, "run", "sweep.json", "--on", cluster.address))
        wait_for(command, lambda: bool(_holders(scene)), "jobs in flight")

        command.kill()
        received = server.state()["received"]
        server.answer()
        server.wait_received(received + 3)
        assert scene.run("pause").code == 0
        until(_answering(server, lambda: not scene.in_flight()), "the runner to notice")

        assert scene.status()["state"] == "paused"
        # The worker is still there, and takes up the run again.
        server.configure(latency_s=0.0)
        server.answer()
        status = open_run("crisis", scene.store).resume(progress=False, on=cluster.address)
        assert status.state is RunState.FINISHED
    assert (scene.succeeded_twice(), scene.status()["cells_done"]) == (0, 400)


def _order(store: Path, **changes: object) -> Mapping[str, object]:
    store.touch()
    order = {"store": str(store), "file": store.stat().st_ino, "boot": SystemClock().boot}
    return {**order, **changes}


def test_a_worker_on_another_host_is_refused_with_a_store_in_a_file(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    check_place(_order(store))

    for order in (
        _order(store, boot="another"),
        _order(store, file=store.stat().st_ino + 1),
        {**_order(store), "store": str(tmp_path / "gone.db")},
    ):
        with pytest.raises(UsageError, match="PostgreSQL"):
            check_place(order)


def test_a_worker_with_another_version_is_refused() -> None:
    assert "install the same version" in run_lanes({"version": "0.0.1"})["refused"]


@pytest.mark.parametrize(
    "written", ["local:0", "local:999", "local", "scheduler:8786", "http://a:1", ""]
)
def test_what_names_no_place_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(UsageError, match=r"local:4|from 1 to 256"):
        Placement.parse(written)


def test_a_scheduler_that_is_not_there_is_a_clear_error(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(small(server.url))

    ended = scene.run("run", "sweep.json", "--on", "tcp://127.0.0.1:1")

    assert ended.code == 2
    assert "no Dask scheduler" in ended.stderr
    assert "Traceback" not in ended.stderr
