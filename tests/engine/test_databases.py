"""The same sweeps in a file and on a server: what can be read afterwards is the same."""

from pathlib import Path
from typing import Any

from engine import Engine, Run, Status, open_engine
from engine.core.inspection import JobFilter
from engine.core.states import State
from engine.kinds import Answer, Job, Permanent
from engine.testing import ScriptedService, scored
from tests.engine.scenes import finished, registry, sweep, timeless_rows
from tests.postgres import make_database

SCORES = {"good": 0.9, "bad": 0.2, "worse": 0.1}


def answer(of: Job) -> Answer:
    """Three tests and a value of each type; the model `gone` has no answer."""
    model = of.labels["model"]
    if model == "gone":
        raise Permanent(f"Unknown model {model}", status=404)
    return scored(
        SCORES[model],
        0.3,
        0.95,
        threshold=of.parameters["threshold"],
        values={
            "share": SCORES[model],
            "words": 7,
            "said": f"{model} \0",
            "refused": model == "good",
        },
    )


def told(status: Status) -> tuple[Any, ...]:
    """What a status says of the jobs and answers, without times."""
    errors = [(one.message, one.jobs) for one in status.errors]
    tests = status.tests_passed, status.tests_failed
    return dict(status.jobs), status.cells, status.cells_done, status.cells_failed, *tests, errors


async def read(run: Run) -> list[Any]:
    """What can be read of a run, without times."""
    analysis = await run.analysis()
    report = await run._gather_report()
    failed = JobFilter(states=[State.FAILED], where={"model": "g*"})
    return [
        await timeless_rows(run),
        [row async for row in run.rows(past=True) if row.source == "past"] != [],
        told(await run.status()),
        analysis.summaries(["model"]),
        analysis.pairs("model"),
        [(one.labels, one.passed) for one in await run.cell_counts(by=["model", "threshold"])],
        await run.value_columns(),
        [(one.labels, one.error) async for one in run.jobs(failed)],
        [event.kind async for event in run.all_events()],
        (report.heat_map, report.curves, report.pairs, report.flakiness, report.means),
    ]


async def live(engine: Engine, service: ScriptedService) -> list[Any]:
    """A run that is edited, retried, asked again and cancelled, another that reuses its answers, and their ends."""
    matrix = {"thresholds": [0.25, 0.5]}
    first = sweep(service, models=["good", "bad", "gone"], repeats=2, matrix=matrix)
    edited = sweep(service, models=["worse", "good", "bad"], matrix={"thresholds": [0.25, 0.6]})
    run, _ = await finished(engine, first)
    found = [await read(run), await run.retry()]
    run, _ = await finished(engine, edited)
    found.append(await read(run))
    run = await engine.submit(edited, fresh=True)
    found.append(told(await run.status()))
    await run.execute()
    found.append(await read(run))
    run = await engine.submit(first)
    found.append(await run.cancel())
    other, _ = await finished(engine, sweep(service, models=["bad", "good"], name="other"))
    found.append(await read(other))
    await engine.delete("scripted")
    found.append([(one.name, dict(one.jobs)) for one in await engine.runs()])
    found.append((await engine.prune()).documents)
    return found


async def test_a_server_holds_what_a_file_holds_after_the_same_sweeps(tmp_path: Path) -> None:
    found = []
    for store in (tmp_path / "store.db", make_database()):
        service = ScriptedService(answer)
        async with open_engine(store, registry=registry(service)) as engine:
            found.append(await live(engine, service))

    in_file, on_server = found
    assert on_server == in_file
    assert len(in_file[0][0]) == 12
