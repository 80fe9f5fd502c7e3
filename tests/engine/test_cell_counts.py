"""Cells counted by axes: from kept counts, which equal what the rows say."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine import CellCount, Run, UsageError
from engine.core.axes import AxisValue, TextAxis
from engine.core.combinations import MatrixAxis
from engine.kinds import Answer, Job, Permanent
from engine.session.cell_counts import GROUPS_MAX, CellCounter, choose_axes
from engine.testing import ScriptedService, scored
from tests.engine.scenes import opened, sweep

BY_EACH = [[], ["model"], ["threshold"], ["models", "thresholds"]]


def some_fail(job: Job) -> Answer:
    """Of model b each job fails; of c each answer lacks many questions, of d few."""
    if job.labels["model"] == "b":
        raise Permanent("refused")
    answer = scored(0.2, 0.4, 0.6, 0.9, threshold=job.parameters.get("threshold", 0.5))
    unanswered = {"c": {"timed out": 9}, "d": {"timed out": 1}}.get(job.labels["model"], {})
    return replace(answer, measurement=replace(answer.measurement, unanswered=unanswered))


async def read_counts(run: Run, by: Sequence[str]) -> list[CellCount]:
    """The counts of the rows."""
    counter = CellCounter(run.facts, [name.rstrip("s") for name in by])
    await counter.add_rows(run.rows())
    return counter.counts


async def test_counts_by_axes_equal_those_of_the_rows(tmp_path: Path) -> None:
    service = ScriptedService(some_fail)
    models = ["d", "c", "b", "a"]
    async with opened(tmp_path / "store.db", service) as engine:
        for thresholds in ([0.3, 0.5, 0.7], [0.3, 0.5]):
            # In the second sweep, what was answered at 0.7 is read at 0.5.
            matrix = {"thresholds": thresholds}
            run = await engine.submit(sweep(service, models=models, repeats=2, matrix=matrix))
            await run.execute()
            for by in BY_EACH:
                found = await run.cell_counts(by=by)

                assert found == await read_counts(run, by)
        run = await engine.run("scripted")
        by_model = {one.labels["model"]: one for one in await run.cell_counts(by=["model"])}
        by_repeat = await run.cell_counts(by=["repeat"])

    assert list(by_model) == models
    assert (by_model["a"].cells, by_model["a"].answered) == (4, 4)
    assert (by_model["b"].cells_failed, by_model["b"].missing) == (4, 4)
    assert (by_model["a"].passed, by_model["a"].failed) == (10, 6)
    assert [one.cells for one in by_repeat] == [8, 8]


async def test_axes_that_the_run_does_not_have_and_axes_named_twice_are_refused(
    tmp_path: Path,
) -> None:
    service = ScriptedService(some_fail)
    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service))

        with pytest.raises(UsageError, match="has no axis 'modle'; did you mean \"model\""):
            await run.cell_counts(by=["modle"])
        with pytest.raises(UsageError, match="a second time"):
            await run.cell_counts(by=["model", "models"])
        with pytest.raises(UsageError, match="once"):
            await run.cell_counts(by=["model", "model"])


def test_the_axes_with_most_values_are_left_out_until_there_are_few_combinations() -> None:
    def axis(field: str, count: int) -> MatrixAxis:
        values = tuple(AxisValue(label=number, content=number) for number in range(count))
        return MatrixAxis(axis=TextAxis(name=f"{field}s", field=field), values=values, own=count)

    axes = [axis("model", 50), axis("prompt", 3_000), axis("group", 40), axis("threshold", 9)]

    assert choose_axes(axes, "threshold") == ("model", "group")
    assert GROUPS_MAX == 50 * 40
    assert choose_axes([axis("model", 51), *axes[1:]], "threshold") == ("group",)
