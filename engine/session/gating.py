"""Holding a run's numbers against the limits of a gate."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.core.errors import UsageError
from engine.core.gates import GateRules, GateVerdict
from engine.core.nearest import suggestion
from engine.results.gate import OtherRun, decide_gate
from engine.results.matching import AxisValues, CellMatch, Matched
from engine.results.observations import Observations
from engine.sweep import SweepFacts

if TYPE_CHECKING:
    from engine.session.readings import RunReadings


async def gate(run: "RunReadings", rules: GateRules, against: "RunReadings | None") -> GateVerdict:
    """Read the cells of a run, and of the run that it is compared with, and decide.

    Raises UsageError if the rules demand nothing, or name an axis or a threshold that the run does not have.
    """
    if rules.fail_above is None and rules.each_case is None and against is None:
        raise UsageError(
            "a gate needs a limit: --fail-above RATE, --each-case SHARE or --against RUN"
        )
    facts = run.facts
    by = dict.fromkeys(_find_field(facts, name) for name in rules.by)
    # Each threshold is checked on its own anyway.
    by.pop(facts.folded_field or "", None)
    rules = replace(rules, by=tuple(by), thresholds=find_thresholds(facts, rules.thresholds))
    seen = (await run.analysis()).seen
    other = None
    if against is not None:
        other = OtherRun(name=against.name, matched=await match_runs(run, seen, against))
    return decide_gate(seen, rules, run=run.name, judge=facts.judge, other=other)


async def match_runs(run: "RunReadings", seen: Observations, other: "RunReadings") -> Matched:
    """Match what was observed of a run with what another one has; raises UsageError if that is impossible."""
    match = CellMatch.of(
        [AxisValues.of(axis) for axis in run.facts.axes],
        [AxisValues.of(axis) for axis in other.facts.axes],
        folded_field=run.facts.folded_field,
    )
    return Matched.of(seen, (await other.analysis()).seen, match)


def _find_field(facts: SweepFacts, name: str) -> str:
    """The field of an axis, from its field or its name in sweep files."""
    for axis in facts.axes:
        if name in (axis.field, axis.axis.name):
            return axis.field
    known = [axis.axis.name for axis in facts.axes]
    raise UsageError(f"the run has no axis {name!r:.100}{suggestion(name, known)}")


def find_thresholds(facts: SweepFacts, wanted: Sequence[float]) -> tuple[float, ...]:
    """The thresholds that are wanted, ascending; raises UsageError for one that the sweep does not have."""
    if not wanted:
        return ()
    known = [
        float(value.label)
        for axis in facts.axes
        if axis.field == facts.folded_field
        for value in axis.values
    ]
    for threshold in wanted:
        if threshold not in known:
            shown = ", ".join(f"{one:g}" for one in sorted(known)) or "none"
            raise UsageError(f"the run has no threshold {threshold:g}; it has {shown}")
    return tuple(sorted(set(wanted)))
