"""Workers on a store that is a database on a PostgreSQL server: one is killed, another one goes on."""

import os
from typing import Any

import anyio
import psycopg

from engine import RunState, Sweep, open_engine, open_run
from tests.contracts.process import ContractServerProcess
from tests.faults.scenarios import AGES_S
from tests.faults.sweeps import Scene, Scenes, crisis
from tests.launcher.processes import Command
from tests.postgres import make_database


def start_worker(scene: Scene, url: str) -> Command:
    number = len(scene.commands)
    command = scene.launcher.start(
        ["worker", "--store", url],
        folder=scene.folder,
        environment={**os.environ, **scene.environment, "NIGHTSWEEP_POLL_S": "0.2"},
        output=(scene.folder / f"{number}.stdout", scene.folder / f"{number}.stderr"),
    )
    scene.commands.append(command)
    return command


def ask(url: str, query: Any) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_the_jobs_of_a_killed_worker_are_done_by_another_one(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=AGES_S)
    scene, url = scenes.make(crisis(server.url)), make_database()

    async def submit() -> None:
        async with open_engine(url) as engine:
            await engine.submit(Sweep.load(scene.folder / "sweep.json"))

    anyio.run(submit)
    dying, staying = start_worker(scene, url), start_worker(scene, url)

    def both_work() -> bool:
        in_flight = ask(url, "SELECT count(*) FROM job WHERE state = 'running'")
        if server.state()["in_flight"] != in_flight:
            return False
        if ask(url, "SELECT count(DISTINCT owner) FROM job WHERE state = 'running'") == 2:
            return True
        server.answer()
        return False

    dying.until(both_work, "both to take jobs")
    held = ask(url, "SELECT count(*) FROM job WHERE state = 'running'")

    dying.kill()
    server.configure(latency_s=0.0)
    server.answer()

    assert staying.wait() == 0, staying.stderr
    lost = ask(url, "SELECT count(*) FROM attempt WHERE outcome = 'lost'")
    assert 0 < lost <= held
    assert server.state()["received"] <= 200 + lost
    status = open_run("crisis", url).status()
    assert (status.state, status.cells_done) == (RunState.FINISHED, 400)
