"""One run, one identity: what decides its answers is noted, compared, and changed only by a word."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from copy import copy
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine import IdentityChanged, Run, RunState, Source, UsageError
from engine.core.provenance import Fact
from engine.testing import ScriptedKind, ScriptedService
from tests.engine.scenes import events, finished, good, opened, sweep


class Decided(ScriptedKind):
    """A kind whose answers are decided by a judge, and by the cases of each group."""

    judge_version: ClassVar[str] = "1"
    cases: ClassVar[Mapping[str, str]] = {"any": "1", "other": "1"}

    def provenance(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[Fact]:
        return (
            Fact(name="judge", value=self.judge_version, judging=True),
            *(
                Fact(name=f"cases of group {group}", value=self.cases[group])
                for group in labels["groups"]
            ),
        )


def decided(**changed: Any) -> ScriptedService:
    """A service of that kind, as another version of its files and code has it."""
    return ScriptedService(good, kind=type("Changed", (Decided,), changed))


OLD_CASES = {"any": "1", "other": "1"}
NEW_CASES = {"any": "2", "other": "1"}


async def interrupted(path: Path, service: ScriptedService, **more: Any) -> None:
    """A run of three jobs of which one is answered."""
    async with opened(path, service) as engine:
        await finished(engine, sweep(service, repeats=1, **more))
        await engine.submit(sweep(service, repeats=3, **more))


def sources(path: Path) -> list[tuple[str, str]]:
    """Of each result its run and the digest of what decided it."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT run.name, result.provenance FROM result JOIN run ON run.id = run_id"
        return connection.execute(query).fetchall()


async def test_a_run_is_not_resumed_under_other_cases(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    service = decided()
    async with opened(path, service) as engine:
        await (await engine.submit(sweep(service))).pause()
    changed = decided(cases=NEW_CASES)

    async with opened(path, changed) as engine:
        run = await engine.run()
        with pytest.raises(IdentityChanged) as refused:
            await run.execute()
        status = await run.status()

    assert [str(one) for one in refused.value.differences] == [
        "cases of group any changed from 1 to 2"
    ]
    assert "scripted: what decides its answers has changed" in str(refused.value)
    assert changed.recording.started == []
    assert status.state is RunState.PAUSED


async def test_a_run_is_not_extended_under_other_cases(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())
    changed = decided(cases=NEW_CASES)

    async with opened(path, changed) as engine:
        before = (await engine.run()).sweep
        with pytest.raises(IdentityChanged, match="cases of group any changed from 1 to 2"):
            await engine.submit(sweep(changed, repeats=4))
        after = (await engine.run()).sweep

    assert before.digest == after.digest


@pytest.mark.parametrize("how", ["resume", "run"])
async def test_an_accepted_change_is_for_what_is_not_answered_yet(tmp_path: Path, how: str) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())
    changed = decided(cases=NEW_CASES)

    async def taken_up(*, accept: bool) -> Run:
        if how == "run":
            return await engine.submit(sweep(changed, repeats=3), accept=accept)
        run = await engine.run()
        if accept:
            await run.accept()
        return run

    async with opened(path, changed) as engine:
        before = await (await engine.run()).status()
        run = await taken_up(accept=True)
        status = await run.execute()
        rows = [row async for row in run.rows()]
        noted = [message for kind, _, message in await events(run) if kind == "accepted"]
        again = await (await taken_up(accept=False)).execute()

    assert (status.cells_done, len(changed.recording.started)) == (3, 2)
    expected = ("accepted for what is not answered yet: cases of group any changed from 1 to 2",)
    assert (tuple(noted), again.accepted, before.accepted) == (expected, expected, ())
    assert before.identity != again.identity
    # Each answer says what decided it.
    assert sorted(Counter(row.identity for row in rows).values()) == [1, 2]
    assert again.state is RunState.FINISHED
    assert sorted(Counter(sources(path)).values()) == [1, 2]


async def test_the_cases_of_groups_that_are_added_are_no_change(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())
    changed = decided(cases={"any": "1", "other": "7"})

    async with opened(path, changed) as engine:
        _, status = await finished(engine, sweep(changed, matrix={"groups": ["any", "other"]}))

    assert status.state is RunState.FINISHED


async def test_a_group_that_comes_back_with_other_cases_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    service = decided()
    async with opened(path, service) as engine:
        await finished(engine, sweep(service, matrix={"groups": ["any", "other"]}))
        await finished(engine, sweep(service, matrix={"groups": ["other"]}))
    changed = decided(cases=NEW_CASES)

    async with opened(path, changed) as engine:
        with pytest.raises(IdentityChanged, match="cases of group any"):
            await engine.submit(sweep(changed, matrix={"groups": ["any", "other"]}))


async def test_numbers_of_two_judges_never_come_into_one_run(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())
    changed = decided(judge_version="2")

    async with opened(path, changed) as engine:
        run = await engine.run()
        with pytest.raises(IdentityChanged, match="judge changed from 1 to 2") as resumed:
            await run.accept()
        with pytest.raises(IdentityChanged):
            await engine.submit(sweep(changed), accept=True)

    assert resumed.value.mixes_judges
    assert changed.recording.started == []


async def test_another_judge_is_accepted_while_there_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    service = decided()
    async with opened(path, service) as engine:
        await engine.submit(sweep(service))
    changed = decided(judge_version="2")

    async with opened(path, changed) as engine:
        run = await engine.run()
        with pytest.raises(IdentityChanged):
            await run.execute()
        await run.accept()
        status = await run.execute()

    assert status.cells_done == 1


async def test_a_service_that_moved_goes_on_by_a_word_and_asks_nothing_twice(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())
    base = decided()
    moved = copy(base)
    moved.identity = "elsewhere"

    async with opened(path, moved) as engine:
        with pytest.raises(IdentityChanged, match="service changed from scripted to elsewhere"):
            await engine.submit(sweep(moved, repeats=3))
        run = await engine.submit(sweep(moved, repeats=3), accept=True)
        status = await run.execute()

    assert (status.cells, status.cells_done, len(base.recording.started)) == (3, 3, 2)


@pytest.mark.parametrize(
    ("changed", "source"),
    [({}, Source.REUSED), ({"cases": NEW_CASES}, Source.MEASURED)],
)
async def test_only_answers_that_the_same_decided_are_reused(
    tmp_path: Path, changed: Mapping[str, Any], source: Source
) -> None:
    path = tmp_path / "store.db"
    first, second = decided(), decided(**changed)
    async with opened(path, first) as engine:
        await finished(engine, sweep(first))

    async with opened(path, second) as engine:
        run, _ = await finished(engine, sweep(second, name="again"))
        rows = [row async for row in run.rows()]

    assert [row.source for row in rows] == [source]


async def test_answers_to_accepted_cases_are_not_taken_for_those_to_the_first(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())
    changed, first = decided(cases=NEW_CASES), decided(cases=OLD_CASES)
    async with opened(path, changed) as engine:
        await (await engine.submit(sweep(changed, repeats=3), accept=True)).execute()

    async with opened(path, first) as engine:
        run, _ = await finished(engine, sweep(first, repeats=3, name="again"))
        rows = [row async for row in run.rows()]

    assert Counter(row.source for row in rows) == {Source.REUSED: 1, Source.MEASURED: 2}


def forgotten(path: Path) -> None:
    """Make a store what an earlier version left, which noted nothing."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE run SET provenance = NULL")
        connection.execute("UPDATE result SET provenance = NULL")
        connection.commit()


async def test_a_run_of_an_earlier_version_continues_once_its_change_was_accepted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())
    forgotten(path)
    service = decided()

    async with opened(path, service) as engine:
        run = await engine.run()
        with pytest.raises(
            IdentityChanged, match="not recorded by the version that began it: judge"
        ):
            await run.execute()
        await run.accept()
        status = await run.execute()
        await (await engine.run()).execute()
        extended, more = await finished(engine, sweep(service, repeats=4))
        rows = [row async for row in extended.rows()]

    assert (status.cells, status.cells_done) == (3, 3)
    assert (more.cells, len(rows), len(service.recording.started)) == (4, 4, 3)


async def test_answers_of_an_earlier_version_are_not_reused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    service = decided()
    async with opened(path, service) as engine:
        await finished(engine, sweep(service))
    forgotten(path)

    async with opened(path, service) as engine:
        run, _ = await finished(engine, sweep(service, name="again"))
        rows = [row async for row in run.rows()]

    assert [row.source for row in rows] == [Source.MEASURED]


async def test_where_nothing_but_the_service_decides_an_earlier_run_goes_on_without_a_word(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    service = ScriptedService(good)
    await interrupted(path, service)
    forgotten(path)

    async with opened(path, service) as engine:
        status = await (await engine.run()).execute()

    assert status.cells_done == 3


async def test_answers_of_a_service_that_judges_itself_are_not_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())

    async with opened(path, decided()) as engine:
        with pytest.raises(UsageError, match="scripted judges its answers itself"):
            await engine.rejudge()


async def test_a_sweep_of_another_evaluation_cannot_be_accepted(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await interrupted(path, decided())

    class Other(Decided):
        name = "other"

    service = ScriptedService(good, kind=Other)
    async with opened(path, service) as engine:
        with pytest.raises(UsageError, match="has the evaluation scripted, the sweep has other"):
            await engine.submit(sweep(service, evaluation="other"), accept=True)
