"""Whatever the other side sends: a named outcome, the other lane unhurt, the run resumable."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from engine import Engine, Run, Status, StopReason, Sweep, open_engine
from tests.contracts.faults import BODIES, PLAYS
from tests.contracts.server import ContractServer
from tests.faults.sweeps import KEY, crisis

STRUCK, SPARED = "struck/model", "spared/model"
ENDLESS = ("hang", "slow_drip")
BROKEN_OFF = ("reset", "reset_in_body", "truncated_chunks", "wrong_length")
"""Connections that are lost, as they are where a server goes away."""


def sweep_of(
    server: ContractServer,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str = "crisis",
    models: Sequence[str] = (STRUCK, SPARED),
    deadline_s: float = 60.0,
) -> Sweep:
    monkeypatch.setenv("FAULTS_KEY", KEY)
    # A service that is away is not waited for.
    retry = {"attempts": 2, "base_delay_s": 0.01, "max_delay_s": 0.02, "outage_h": 0}
    written = crisis(server.url, name=name, retry=retry)
    written["service"]["deadline_s"] = deadline_s
    written["matrix"] |= {"models": list(models), "groups": ["self_harm"], "repeats": 2}
    return Sweep.parse(written)


async def states(run: Run) -> dict[str, set[tuple[str, str | None]]]:
    found: dict[str, set[tuple[str, str | None]]] = {STRUCK: set(), SPARED: set()}
    async for row in run.rows():
        found[row.labels["model"]].add((row.state, row.error))
    return found


def assert_failed_by_name(struck: set[tuple[str, str | None]]) -> None:
    assert {state for state, _ in struck} == {"failed"}
    for _, error in struck:
        assert error
        assert "bug" not in error
        assert KEY not in error
        assert len(error) < 2_000


async def execute(engine: Engine, sweep: Sweep) -> Status:
    return await (await engine.submit(sweep)).execute()


@pytest.mark.parametrize("fault", sorted({*BODIES, *PLAYS} - {*ENDLESS, *BROKEN_OFF}))
async def test_a_hostile_answer_fails_its_own_jobs_by_name_and_a_retry_answers_them(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ContractServer() as server, open_engine(tmp_path / "store.db") as engine:
        sweep = sweep_of(server, monkeypatch)
        server.play(fault, times=None, model=STRUCK)

        status = await execute(engine, sweep)

        run = await engine.run()
        after = await states(run)
        assert status.cells_failed == 4
        assert after[SPARED] == {("succeeded", None)}
        assert_failed_by_name(after[STRUCK])

        server.clear()
        assert await run.retry() == 2
        assert (await run.execute()).cells_done == 8


@pytest.mark.parametrize("fault", BROKEN_OFF)
async def test_a_service_that_loses_all_connections_is_away_and_fails_no_job(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ContractServer() as server, open_engine(tmp_path / "store.db") as engine:
        sweep = sweep_of(server, monkeypatch)
        server.play(fault, times=None, model=STRUCK)

        status = await execute(engine, sweep)

        assert (status.cells_done, status.cells_failed) == (4, 0)
        assert status.reason is StopReason.UNHEALTHY
        assert "the connection failed" in status.message
        assert KEY not in status.message

        server.clear()
        assert (await (await engine.run()).execute()).cells_done == 8


@pytest.mark.parametrize("fault", ENDLESS)
async def test_an_answer_that_never_ends_fails_its_own_run_alone_and_a_retry_answers_it(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two runs beside each other: a deadline is a service's, and a busy machine is not to be taken for a silent one.
    statuses: dict[str, Status] = {}

    async def keep_status(engine: Engine, sweep: Sweep) -> None:
        statuses[sweep.name] = await execute(engine, sweep)

    async with ContractServer() as server, open_engine(tmp_path / "store.db") as engine:
        struck = sweep_of(server, monkeypatch, name="struck", models=[STRUCK], deadline_s=0.3)
        spared = sweep_of(server, monkeypatch, name="spared", models=[SPARED])
        server.play(fault, times=None, model=STRUCK)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_status, engine, struck)
            tasks.start_soon(keep_status, engine, spared)

        assert (statuses["struck"].cells_failed, statuses["spared"].cells_done) == (4, 4)
        assert_failed_by_name((await states(await engine.run("struck")))[STRUCK])

        server.clear()
        patient = sweep_of(server, monkeypatch, name="struck", models=[STRUCK])
        run = await engine.submit(patient)
        assert await run.retry() == 2
        assert (await run.execute()).cells_done == 4


@pytest.mark.parametrize(
    "retry_after", [None, "-5", "garbage", "Thu, 01 Jan 1970 00:00:00 GMT", "0", "1e999"]
)
async def test_a_storm_of_429_uses_no_attempt_whatever_its_retry_after_says(
    retry_after: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ContractServer() as server, open_engine(tmp_path / "store.db") as engine:
        sweep = sweep_of(server, monkeypatch)
        server.fail_next(7, status=429, retry_after=retry_after, model=STRUCK)

        status = await execute(engine, sweep)

        assert status.cells_done == 8
        assert status.jobs["failed"] == 0


async def test_errors_for_ever_fail_each_job_after_its_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ContractServer() as server, open_engine(tmp_path / "store.db") as engine:
        sweep = sweep_of(server, monkeypatch)
        server.fail_next(None, status=500, detail="out of order", model=STRUCK)

        status = await execute(engine, sweep)

        assert status.cells_done == 4
        assert status.cells_failed == 4
        [kind] = status.errors
        assert kind.example == "out of order"
        assert "gave up after 2 attempts" in kind.message
        assert kind.jobs == 2


async def test_a_server_that_cannot_be_reached_fails_no_job_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ContractServer() as server, open_engine(tmp_path / "store.db") as engine:
        sweep = sweep_of(server, monkeypatch)
        gone = Sweep.parse(
            {**crisis("http://127.0.0.1:9"), "name": "gone"}
            | {"retry": {"attempts": 1, "base_delay_s": 0.01, "outage_h": 0}}
            | {"matrix": {**crisis("")["matrix"], "repeats": 1}}
        )

        lost = await execute(engine, gone)
        answered = await execute(engine, sweep)

        assert (lost.cells_done, lost.cells_failed) == (0, 0)
        assert lost.reason is StopReason.UNHEALTHY
        assert "connection refused" in lost.message
        assert answered.cells_done == 8
