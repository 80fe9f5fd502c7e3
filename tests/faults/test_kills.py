"""Killed at any moment: no answer is lost, nothing succeeds twice, only what was in flight goes again."""

import os
import signal
import subprocess
from pathlib import Path
from random import Random

import pytest

from tests.contracts.process import ContractServerProcess
from tests.faults.sweeps import Scene, crisis, sorted_rows

KILLS = 10


def test_ten_kills_leave_the_rows_of_an_undisturbed_run(tmp_path: Path) -> None:
    chance = Random(20261121)
    with ContractServerProcess("--latency-s", "0.02") as server:
        calm = Scene.make(tmp_path / "calm", crisis(server.url))
        assert calm.sweep().returncode == 0
        expected = sorted_rows(calm.rows())
        received_before = server.state()["received"]
        server.configure(fault_probability=0.1, fault_kinds=["status", "reset"], fault_seed=7)

        scene = Scene.make(tmp_path / "killed", crisis(server.url))
        in_flight = 0
        for kill in range(KILLS):
            command = ("run", "sweep.json") if kill % 2 == 0 else ("resume", "crisis")
            with scene.running(*command) as process:
                target = server.state()["received"] + chance.randint(3, 18)
                server.wait_received(target)
                process.kill()
                process.wait()
            in_flight += scene.in_flight()
            assert scene.is_sound()
        last = scene.sweep()

        assert last.returncode == 0, last.stderr
        assert sorted_rows(scene.rows()) == expected
        assert scene.succeeded_twice() == 0
        [(faulted,)] = scene.ask(
            "SELECT count(*) FROM attempt WHERE outcome NOT IN ('succeeded', 'lost', 'interrupted')"
        )
        received = server.state()["received"] - received_before
        assert received <= 200 + in_flight + faulted
        assert server.state()["violation_count"] == 0


def test_a_matrix_that_was_half_written_is_completed_on_resume(tmp_path: Path) -> None:
    with ContractServerProcess("--latency-s", "30") as server:
        sweep = crisis(server.url)
        sweep["matrix"]["repeats"] = 5_000
        scene = Scene.make(tmp_path / "scene", sweep)
        with scene.running("run", "sweep.json") as process:
            # The first requests leave while the matrix is still being written.
            server.wait_received(1)
            process.kill()
            process.wait()
        [(written,)] = scene.ask("SELECT count(*) FROM job")
        assert 0 < written < 20_000

        with scene.running("resume") as process:
            before = server.state()["received"]
            server.wait_received(before + 1)
            while scene.ask("SELECT count(*) FROM job") != [(20_000,)]:
                assert process.poll() is None

        assert scene.is_sound()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_requests_in_flight_end_and_gives_the_rest_back(
    tmp_path: Path, signal_number: int
) -> None:
    with ContractServerProcess("--latency-s", "0.3") as server:
        scene = Scene.make(tmp_path / "scene", crisis(server.url))
        with scene.running("run", "sweep.json") as process:
            server.wait_received(12)
            process.send_signal(signal_number)
            process.communicate(timeout=30)

        assert process.returncode == 130
        assert scene.in_flight() == 0
        [(answered,)] = scene.ask("SELECT count(*) FROM job WHERE state = 'succeeded'")
        assert answered == server.state()["received"]
        assert scene.ask(
            "SELECT count(*) FROM job WHERE state != 'succeeded' AND attempts > 0"
        ) == [(0,)]


def test_a_stopped_process_keeps_its_jobs_while_it_is_not_given_up(tmp_path: Path) -> None:
    with ContractServerProcess("--latency-s", "0.2") as server:
        scene = Scene.make(tmp_path / "scene", crisis(server.url))
        with scene.running("run", "sweep.json") as stopped:
            server.wait_received(10)
            os.kill(stopped.pid, signal.SIGSTOP)
            held = scene.in_flight()

            with scene.running("resume") as other:
                server.wait_received(server.state()["received"] + 20)
                other.send_signal(signal.SIGINT)
                other.communicate(timeout=30)
            still_held = scene.in_flight()
            os.kill(stopped.pid, signal.SIGCONT)
            stopped.communicate(timeout=60)

        assert held > 0
        assert still_held == held
        assert stopped.returncode == 0
        assert scene.succeeded_twice() == 0
        assert scene.status()["cells_done"] == 400


def test_two_processes_share_a_run_and_do_each_job_once(tmp_path: Path) -> None:
    with ContractServerProcess("--latency-s", "0.05") as server:
        scene = Scene.make(tmp_path / "scene", crisis(server.url))
        with scene.running("run", "sweep.json") as first:
            server.wait_received(5)
            with scene.running("resume", "crisis") as second:
                first.communicate(timeout=60)
                second.communicate(timeout=60)

        assert (first.returncode, second.returncode) == (0, 0)
        assert server.state()["received"] == 200
        [(workers,)] = scene.ask("SELECT count(DISTINCT worker) FROM attempt")
        assert workers == 2
        assert server.state()["max_in_flight"] <= 16


def test_a_refused_key_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    with ContractServerProcess("--latency-s", "0.02") as server:
        scene = Scene.make(tmp_path / "scene", crisis(server.url))
        with scene.running("run", "sweep.json") as process:
            server.wait_received(40)
            server.configure(keys=["another"])
            _, stderr = process.communicate(timeout=30)
        received = server.state()["received"]

        assert process.returncode == 3, stderr
        assert scene.status()["reason"] == "unauthorized"
        assert scene.status()["jobs"]["failed"] == 0
        assert received <= 40 + 8 * 4

        server.configure(keys=None)
        assert scene.run("resume").returncode == 0
        assert scene.status()["cells_done"] == 400


def test_an_empty_quota_ends_the_run_with_the_day_to_resume(tmp_path: Path) -> None:
    with ContractServerProcess("--latency-s", "0.01", "--allotted", "500") as server:
        scene = Scene.make(tmp_path / "scene", crisis(server.url))

        first = scene.sweep()

        status = scene.status()
        assert first.returncode == 3, first.stderr
        assert status["reason"] == "quota"
        assert status["resume_at"] is not None
        assert status["jobs"]["failed"] == 0
        assert server.state()["tests"] <= 500

        server.configure(allotted=1_000_000)
        assert scene.run("resume").returncode == 0
        assert scene.status()["cells_done"] == 400


def test_pause_reaches_a_running_process_within_two_seconds(tmp_path: Path) -> None:
    with ContractServerProcess("--latency-s", "0.1") as server:
        scene = Scene.make(tmp_path / "scene", crisis(server.url))
        with scene.running("run", "sweep.json") as process:
            server.wait_received(5)
            assert scene.run("pause").returncode == 0
            stdout, stderr = process.communicate(timeout=10)

        assert process.returncode == 3, (stdout, stderr)
        assert scene.status()["state"] == "paused"
        assert scene.in_flight() == 0
        assert scene.run("resume").returncode == 0


def test_cancel_keeps_the_answers_and_retry_brings_the_rest_back(tmp_path: Path) -> None:
    with ContractServerProcess("--latency-s", "0.1") as server:
        scene = Scene.make(tmp_path / "scene", crisis(server.url))
        with scene.running("run", "sweep.json") as process:
            server.wait_received(20)
            assert scene.run("cancel").returncode == 0
            process.communicate(timeout=30)
        cancelled = scene.status()

        assert process.returncode == 3
        assert cancelled["state"] == "cancelled"
        assert cancelled["jobs"]["succeeded"] >= 12
        assert cancelled["jobs"]["pending"] == 0

        assert scene.run("retry", "--cancelled").returncode == 0
        assert scene.run("resume").returncode == 0
        assert scene.status()["cells_done"] == 400
        assert server.state()["received"] == 200


def test_a_store_that_was_killed_holds_no_key(tmp_path: Path) -> None:
    from tests.faults.sweeps import KEY

    with ContractServerProcess("--latency-s", "0.02") as server:
        server.configure(fault_probability=0.3, fault_kinds=["status", "reset"], fault_seed=1)
        scene = Scene.make(tmp_path / "scene", crisis(server.url))
        with scene.running("run", "sweep.json") as process:
            server.wait_received(60)
            process.kill()
            stdout, stderr = process.communicate()
        ended: subprocess.CompletedProcess[str] = scene.run("status")

        left = (
            b"".join(path.read_bytes() for path in scene.folder.rglob("*") if path.is_file())
            + (stdout + stderr + ended.stdout + ended.stderr).encode()
        )
        assert KEY.encode() not in left
