"""Gathers all that the report on a run shows, in one pass over its jobs and one over its failed tests."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TypeAlias

from engine.core.errors import UsageError
from engine.core.findings import Finding
from engine.core.matrix import MatrixAxis
from engine.core.reports import ReportData, WorstFindings
from engine.core.runs import Event
from engine.core.status import Status
from engine.results.analysis import Analysis
from engine.results.cells import RowRules
from engine.results.comparisons import compare_axes, count_flaky, means_by
from engine.results.effort import EffortCounter
from engine.results.heat import choose_axes, curves_of, heat_map_of
from engine.results.observations import Observer, read_round_of
from engine.results.ranking import AnswerRanking
from engine.results.score_curves import ScoreCounter
from engine.results.worst import collect_worst
from engine.store import JobRow
from engine.sweep import SweepFacts

ReadFindings: TypeAlias = Callable[[Sequence[int] | None, float], AsyncIterator[Finding]]
"""Reads the findings of a run, all or those in the answers of some jobs, with scores up to a highest one."""

MOST_EVENTS = 200
"""The most events that a report shows."""
_UNAVAILABLE = "What failed cannot be read"


async def gather_report(
    status: Status,
    facts: SweepFacts,
    rules: RowRules,
    *,
    jobs: AsyncIterable[JobRow],
    events: Sequence[Event],
    read_findings: ReadFindings,
    store: str,
) -> ReportData:
    """Gather what the report on a run shows; `store` is how its commands name the store, empty for the usual one.

    However many findings there are, memory holds the worst of them, and of the cells at the status' threshold what
    `Run.analysis` keeps. Of many answers with failed tests, only the worst are read.
    `events` are the latest, one more than are shown if there are more. If findings cannot be read, the report says
    why.
    """
    folded, threshold = facts.folded_field, status.threshold
    axes = choose_axes(facts.axes, folded)
    row_axis = "" if axes is None else axes.row
    effort, ranking, scores = EffortCounter(row_axis), AnswerRanking(), ScoreCounter(axes, rules)
    # Only the heat map needs all thresholds, and nothing but its own axes.
    by = () if axes is None else (axes.row, axes.column)
    all_thresholds = Observer(facts.axes, rules, by=by)
    shown = Observer(facts.axes, rules, threshold=threshold)
    async for job in jobs:
        answer = read_round_of(job, rules)
        effort.add(job)
        ranking.add(job)
        for counter in (scores, all_thresholds, shown):
            counter.add(job, answer)
    fields = {axis.field: axis.field for axis in facts.axes}
    analysis = Analysis(shown.observations(), fields)
    heat_map = (
        None if axes is None else heat_map_of(Analysis(all_thresholds.observations(), fields), axes)
    )
    return ReportData(
        status=status,
        version=version("nightsweep"),
        store=store,
        threshold=threshold,
        spent=effort.spent(sum(one.calls for one in status.spending)),
        events=tuple(events[-MOST_EVENTS:]),
        has_more_events=len(events) > MOST_EVENTS,
        heat_map=heat_map,
        curves=() if heat_map is None else curves_of(heat_map),
        score_curves=() if heat_map is None else scores.curves(heat_map),
        pairs=compare_axes(analysis, facts.axes, folded, threshold),
        flakiness=count_flaky(analysis, threshold),
        means=() if axes is None else means_by(analysis, row_axis, threshold),
        effort_axis=row_axis,
        effort=effort.efforts,
        findings=await _find_worst(read_findings, ranking, _axis_values(facts.axes, folded)),
    )


async def _find_worst(
    read_findings: ReadFindings, ranking: AnswerRanking, axes: Mapping[str, tuple[str, ...]]
) -> WorstFindings:
    chosen = ranking.worst_jobs if ranking.is_partial else None
    try:
        worst = await collect_worst(read_findings(chosen, ranking.highest_score))
    except UsageError as error:
        return WorstFindings(kept=(), total=0, axes=axes, unavailable=f"{_UNAVAILABLE}: {error}")
    # Of kinds whose answers list no tests, no finding is known.
    total = ranking.failed if chosen is not None and worst.total else worst.total
    return WorstFindings(kept=worst.kept(), total=total, axes=axes)


def _axis_values(
    axes: Sequence[MatrixAxis], folded_field: str | None
) -> dict[str, tuple[str, ...]]:
    """The labels of each axis by field, in the order of the file; those of `repeat` follow from the findings."""
    found = {
        axis.field: tuple(dict.fromkeys(str(value.label) for value in axis.values))
        for axis in axes
        if axis.field != folded_field
    }
    return {**found, "repeat": ()}
