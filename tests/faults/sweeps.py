"""Real runs of the command on a real store against the contract server, to be killed at will."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from engine import open_engine
from engine.report.document import row_document
from tests.faults.failpoints import Faults
from tests.launcher.processes import Command, Launcher
from tests.patience import PATIENCE_S, wait_ended, with_stacks

KEY = "nightsweep-secret-7f3a9c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command came to."""

    code: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class Scene:
    """A sweep file and a store in a folder of their own, and the commands that were run on them."""

    folder: Path
    launcher: Launcher
    environment: Mapping[str, str] = field(default_factory=lambda: {"FAULTS_KEY": KEY})
    commands: list[Command] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, launcher: Launcher, sweep: Mapping[str, Any]) -> "Scene":
        folder.mkdir(exist_ok=True)
        scene = cls(folder, launcher)
        scene.write(sweep)
        return scene

    def write(self, sweep: Mapping[str, Any]) -> None:
        (self.folder / "sweep.json").write_text(json.dumps(sweep))

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    def start(self, *arguments: str, faults: Faults | None = None, **environment: str) -> Command:
        """A command on the store, in a process of its own."""
        number = len(self.commands)
        output = (self.folder / f"{number}.stdout", self.folder / f"{number}.stderr")
        command = self.launcher.start(
            [*arguments, "--store", str(self.store)],
            folder=self.folder,
            environment={**os.environ, **self.environment, **environment},
            output=output,
            faults=faults,
        )
        self.commands.append(command)
        return command

    def run(self, *arguments: str, faults: Faults | None = None) -> Ended:
        """The same to its end."""
        command = self.start(*arguments, faults=faults)
        code = command.wait()
        return Ended(code=code, stdout=command.stdout, stderr=command.stderr)

    def sweep(self, faults: Faults | None = None) -> Ended:
        return self.run("run", "sweep.json", faults=faults)

    def popen(self, *arguments: str) -> "subprocess.Popen[str]":
        """The command as it is installed, from its very start."""
        nightsweep = Path(sys.executable).with_name("nightsweep")
        return subprocess.Popen(  # noqa: S603
            [str(nightsweep), *arguments, "--store", str(self.store)],
            cwd=self.folder,
            env={**with_stacks(), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """The same in the background; killed at the end of the block if it still runs."""
        process = self.popen(*arguments)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def run_installed(self, *arguments: str) -> Ended:
        with self.popen(*arguments) as process:
            stdout, stderr = wait_ended(process)
        return Ended(code=process.returncode, stdout=stdout, stderr=stderr)

    def end_all(self) -> None:
        """Kill what still runs."""
        for command in self.commands:
            if command.poll() is None:
                command.kill()

    def remove(self) -> None:
        """End what still runs, and delete the folder."""
        self.end_all()
        shutil.rmtree(self.folder)

    def rows(self) -> list[str]:
        """The rows of the store's only run, each as a line of JSON, in a canonical order."""
        return anyio.run(self._rows)

    async def _rows(self) -> list[str]:
        async with open_engine(self.store, read_only=True) as engine:
            run = await engine.run()
            values = await run.value_columns()
            documents = [row_document(row, values) async for row in run.rows()]
        # What differs between two runs that come to the same.
        for document in documents:
            for name in ("attempts", "seconds", "answered_at"):
                document.pop(name, None)
        return sorted(json.dumps(document, sort_keys=True) for document in documents)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return status

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.store)) as connection:
            return connection.execute(query, values).fetchall()

    def count(self, query: str, *values: Any) -> int:
        [(count,)] = self.ask(query, *values)
        return int(count or 0)

    def in_flight(self) -> int:
        return self.count("SELECT count(*) FROM job WHERE state = 'running'")

    @contextmanager
    def locked(self) -> Iterator[Callable[[int], int]]:
        """Keep every process from changing the store; gives how many jobs a process holds, by its id."""
        with closing(sqlite3.connect(self.store, timeout=PATIENCE_S, isolation_level=None)) as held:
            held.execute("BEGIN IMMEDIATE")

            def held_by(pid: int) -> int:
                query = "SELECT count(*) FROM job JOIN worker ON owner = worker.id WHERE pid = ?"
                [count] = held.execute(query, (pid,)).fetchone()
                return int(count)

            yield held_by
            held.execute("ROLLBACK")

    def sent(self) -> int:
        """How many requests the store knows to have been about to leave."""
        return self.count("SELECT count(*) FROM attempt")

    def is_sound(self) -> bool:
        return self.ask("PRAGMA integrity_check") == [("ok",)] and not self.ask(
            "PRAGMA foreign_key_check"
        )

    def is_migrated(self) -> bool:
        return self.ask("SELECT 1 FROM sqlite_schema WHERE name = 'job'") == [(1,)]

    def has_run(self) -> bool:
        return self.is_migrated() and self.count("SELECT count(*) FROM run") > 0

    def succeeded_twice(self) -> int:
        """Jobs with more than one successful attempt, or whose answers and attempts do not agree."""
        return self.count(
            """
            SELECT count(*) FROM job WHERE
                (SELECT count(*) FROM attempt WHERE job_id = job.id AND outcome = 'succeeded')
                != (SELECT count(*) FROM result WHERE job_id = job.id AND reused_from IS NULL)
                OR (state = 'succeeded') != (id IN (SELECT job_id FROM result))
            """
        )


@dataclass(slots=True)
class Scenes:
    """Scenes in one folder, whose commands are killed in the end if they still run."""

    folder: Path
    launcher: Launcher
    made: list[Scene] = field(default_factory=list)

    def make(self, sweep: Mapping[str, Any]) -> Scene:
        """A scene without a store."""
        self.made.append(Scene.make(self._next_folder(), self.launcher, sweep))
        return self.made[-1]

    def copy(self, scene: Scene) -> Scene:
        """A scene with the store and the sweep file of another, on which nothing runs."""
        folder = self._next_folder()
        shutil.copytree(scene.folder, folder)
        self.made.append(Scene(folder, self.launcher))
        return self.made[-1]

    def end_all(self) -> None:
        for scene in self.made:
            scene.end_all()

    def _next_folder(self) -> Path:
        return self.folder / f"scene-{len(self.made)}"


def crisis(url: str, **changes: Any) -> dict[str, Any]:
    """A sweep of 200 jobs and 400 cells, with waits short enough for a test."""
    sweep: dict[str, Any] = {
        "name": "crisis",
        "service": {"kind": "circuit-breaker-labs", "base_url": url, "api_key": "env:FAULTS_KEY"},
        "evaluation": "single_turn",
        "matrix": {
            "models": ["anthropic/claude", "qwen/qwen3"],
            "prompts": [{"name": "bare", "text": "You are a helpful assistant."}],
            "groups": ["suicidal_ideation", "self_harm"],
            "thresholds": [0.3, 0.5],
            "repeats": 50,
        },
        "limits": {"max_in_flight": 8},
        "retry": {"attempts": 20, "base_delay_s": 0.05, "max_delay_s": 0.4},
    }
    return {**sweep, **changes}


def small(url: str, *, repeats: int = 3, **changes: Any) -> dict[str, Any]:
    """A sweep of 6 jobs and 12 cells, or with other `repeats` two jobs for each."""
    sweep = crisis(url, **changes)
    sweep["matrix"] = {**sweep["matrix"], "groups": ["self_harm"], "repeats": repeats}
    return sweep
