"""A large run: its rows, its edits and how it is resumed, cancel and retry; seconds, CPU and memory of each command.

By hand: `python -m tests.benchmarks.large [--jobs 200000] [edits | commands]`. Answers are put into
the store without a service, and each command is a process of its own; TMPDIR needs some 3 GB for each million of jobs. Goal: what is
written, and how long the first request takes, grows with what has changed, and memory not with the jobs.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.contracts.answers import GROUPS as GROUPS_ON_OFFER
from tests.contracts.process import ContractServerProcess

MODELS, REPEATS = 20, 2
GROUPS = list(GROUPS_ON_OFFER)[:5]
PER_PROMPT = MODELS * len(GROUPS) * REPEATS


def sweep_of(
    prompts: Iterable[int], url: str, thresholds: Sequence[float] = (0.5,)
) -> dict[str, Any]:
    return {
        "name": "large",
        "service": {
            "kind": "circuit-breaker-labs",
            "base_url": url,
            "api_key": "env:BENCHMARK_KEY",
        },
        "evaluation": "single_turn",
        "matrix": {
            "models": [f"vendor/model-{number}" for number in range(MODELS)],
            "prompts": [
                {"name": f"prompt-{number}", "text": f"You are assistant number {number}."}
                for number in prompts
            ],
            "groups": GROUPS,
            "thresholds": list(thresholds),
            "repeats": REPEATS,
        },
        "limits": {"max_in_flight": 16},
    }


def fill(
    folder: Path, count: int, server: ContractServerProcess, thresholds: Sequence[float] = (0.5,)
) -> None:
    """Have a run put its matrix into the queue, in which nothing can be sent for want of quota."""
    server.configure(allotted=0)
    (folder / "sweep.json").write_text(json.dumps(sweep_of(range(count), server.url, thresholds)))
    nightsweep(folder, "run", "sweep.json")
    server.configure(allotted=10**9)
    (folder / "nightsweep.db").rename(folder / "open.db")


def answer(store: Path, *, one_in: int = 1) -> None:
    """Give every job, or every second one, an answer, as if a service had."""
    which = {"one_in": one_in}
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(
            "INSERT INTO attempt (job_id, fence, run_id, worker, sent_at, ended_at, outcome)"
            " SELECT id, 1, run_id, 'w', 1.7e9, 1.7e9 + 1, 'succeeded' FROM job WHERE id % :one_in = 0",
            which,
        )
        connection.execute(
            "INSERT INTO result (job_id, run_id, passed, failed, tests, scores, recorded_at)"
            " SELECT id, run_id, 9, 1, 10, '[0.25]', 1.7e9 + 1 FROM job WHERE id % :one_in = 0",
            which,
        )
        connection.execute(
            "INSERT INTO answer SELECT id, x'789c030000000001' FROM job WHERE id % :one_in = 0",
            which,
        )
        connection.execute(
            "UPDATE job SET state = 'succeeded', attempts = 1, fence = 1 WHERE id % :one_in = 0",
            which,
        )
        if one_in == 1:
            connection.execute("UPDATE run SET state = 'finished', reason = NULL, message = ''")


def start(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - our own command
        [Path(sys.executable).with_name("nightsweep"), *arguments],
        cwd=folder,
        env={**os.environ, "BENCHMARK_KEY": "benchmark"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def ended(process: "subprocess.Popen[bytes]") -> resource.struct_rusage:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def nightsweep(folder: Path, *arguments: str) -> None:
    """Run one command, and tell how long it took and its peak memory."""
    began = time.perf_counter()
    process = start(folder, *arguments)
    usage = ended(process)
    tell(
        f"{' '.join(arguments)}: {time.perf_counter() - began:.1f} s,"
        f" {usage.ru_utime + usage.ru_stime:.1f} CPU s, peak {usage.ru_maxrss / 1024:.0f} MB,"
        f" exit code {process.returncode}"
    )


def cpu_s(process: "subprocess.Popen[bytes]") -> float:
    """What a process that is there has used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bytes_written(process: "subprocess.Popen[bytes]") -> int:
    """What a process that is there has had written to its disk so far."""
    lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


class Watched:
    """`nightsweep run`, watched from its start until its first request, and until its matrix is in the queue."""

    def __init__(self, folder: Path, server: ContractServerProcess) -> None:
        self._server = server
        self._store = folder / "nightsweep.db"
        self._before = server.state()["received"]
        self._generation, _ = self._look()
        self._began = time.time()
        self.process = start(folder, "run", "sweep.json")

    def _look(self) -> tuple[int, bool]:
        with closing(sqlite3.connect(self._store, timeout=60.0)) as store:
            generation, is_expanded = store.execute(
                "SELECT generation, expanded IS digest FROM run"
            ).fetchone()
        return int(generation), bool(is_expanded)

    def wait_for_first(self) -> str:
        self._server.wait_received(self._before + 1)
        used_s = cpu_s(self.process)
        first_s = self._server.requests()[self._before]["wall_s"] - self._began
        return f"first request after {first_s:.1f} s, {used_s:.1f} CPU s"

    def wait_until_expanded(self) -> str:
        is_expanded = False
        while not is_expanded:
            time.sleep(0.02)
            generation, is_expanded = self._look()
            is_expanded &= generation > self._generation
        seconds, megabytes = time.time() - self._began, bytes_written(self.process) / 1e6
        return (
            f"matrix in the queue after {seconds:.1f} s, {cpu_s(self.process):.1f} CPU s,"
            f" {megabytes:.0f} MB written"
        )

    def end(self, *, at_once: bool) -> str:
        """Interrupt it, or let it have its answers."""
        if at_once:
            self.process.send_signal(signal.SIGTERM)
        usage = ended(self.process)
        requests = self._server.requests()[self._before :]
        statuses = ", ".join(sorted({str(each["status"]) for each in requests}))
        return (
            f"peak {usage.ru_maxrss / 1024:.0f} MB, {len(requests)} requests answered {statuses or 'nothing'},"
            f" exit code {self.process.returncode}"
        )


def changes(folder: Path, before: Path) -> str:
    """How many jobs are new, and how many that had an answer were rewritten."""
    with closing(sqlite3.connect(folder / "nightsweep.db")) as store:
        store.execute("ATTACH ? AS old", (str(before),))
        [new] = store.execute(
            "SELECT (SELECT count(*) FROM main.job) - (SELECT count(*) FROM old.job)"
        ).fetchone()
        [rewritten] = store.execute(
            "SELECT count(*) FROM old.job AS old JOIN main.job AS now USING (id)"
            " WHERE old.state = 'succeeded' AND (now.generation, now.place, now.labels, now.cells)"
            " IS NOT (old.generation, old.place, old.labels, old.cells)"
        ).fetchone()
    return f"{new} jobs new, {rewritten} answered ones rewritten"


def edit(
    what: str,
    before: Path,
    sweep: Mapping[str, Any],
    server: ContractServerProcess,
    *,
    sends: bool = True,
    is_whole: bool = True,
    is_edited: bool = True,
) -> None:
    """Run a sweep on a copy of a store, and tell what it took; `is_whole`: to its end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(before, folder / "nightsweep.db")
        (folder / "sweep.json").write_text(json.dumps(sweep))
        run = Watched(folder, server)
        found = [run.wait_for_first()] if sends else []
        if is_edited:
            found.append(run.wait_until_expanded())
        found.append(run.end(at_once=not is_whole))
        tell(f"{what}: {'; '.join([*found, changes(folder, before)])}")


def edits(folder: Path, count: int, server: ContractServerProcess) -> None:
    """One prompt more or less, where all jobs have their answers and where half of them have."""
    before = range(count)
    more: dict[str, Iterable[int]] = {
        "a prompt more at the end": range(count + 1),
        "a prompt more at the front": [count, *before],
        "a prompt more in the middle": [*before[: count // 2], count, *before[count // 2 :]],
    }
    less = [*before[: count // 2], *before[count // 2 + 1 :]]
    for store, is_whole in ((folder / "answered.db", True), (folder / "half.db", False)):
        given = "all answered, {}" if is_whole else "half answered, {}"
        unchanged = sweep_of(before, server.url)
        edit(
            given.format("unchanged"),
            store,
            unchanged,
            server,
            sends=not is_whole,
            is_whole=is_whole,
            is_edited=False,
        )
        for what, prompts in more.items():
            sweep = sweep_of(prompts, server.url)
            edit(given.format(what), store, sweep, server, is_whole=is_whole)
        fewer = sweep_of(less, server.url)
        edit(
            given.format("a prompt less in the middle"),
            store,
            fewer,
            server,
            sends=not is_whole,
            is_whole=is_whole,
        )


def commands(folder: Path) -> None:
    """What the commands take that look at or change all jobs."""
    shutil.copy(folder / "answered.db", folder / "nightsweep.db")
    nightsweep(folder, "status")
    nightsweep(folder, "results")
    for form in ("csv", "jsonl"):
        nightsweep(folder, "results", "--format", form)
    shutil.copy(folder / "open.db", folder / "nightsweep.db")
    nightsweep(folder, "cancel")
    nightsweep(folder, "retry", "--cancelled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("part", nargs="?", choices=["edits", "commands"])
    arguments = parser.parse_args()
    prompts = arguments.jobs // PER_PROMPT
    with (
        tempfile.TemporaryDirectory() as name,
        ContractServerProcess("--no-validate", "--latency-s", "0.5") as server,
    ):
        folder = Path(name)
        fill(folder, prompts, server)
        for called, one_in in (("half", 2), ("answered", 1)):
            shutil.copy(folder / "open.db", folder / f"{called}.db")
            answer(folder / f"{called}.db", one_in=one_in)
        if arguments.part != "commands":
            edits(folder, prompts, server)
        if arguments.part != "edits":
            commands(folder)


if __name__ == "__main__":
    main()
