"""What a report says first: how a run ended and which models fail, in a sentence, and what to do next."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from engine.core.differences import PairedDifference
from engine.core.listing import quantity
from engine.core.reports import HeatCell, Pairs, ReportData
from engine.core.rows import Coverage
from engine.core.runs import RunState, StopReason
from engine.report.times import moment
from engine.report.words import shorten

_LONGEST_NAME = 80
_LONGEST_WHY = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to do next: why, and the command that does it, if one does."""

    text: str
    command: str = ""


def command(data: ReportData, name: str, *words: str) -> str:
    """A command about the run, quoted for a shell."""
    store = ["--store", data.store] if data.store else []
    run = ["--", data.run] if data.run.startswith("-") else [data.run]
    return shlex.join(
        ["nightsweep", name, *store, *words, *run]
        if run[0] == "--"
        else ["nightsweep", name, *run, *words, *store]
    )


def show_command(data: ReportData) -> str:
    """The command that shows a job, but for the number of the job, which is unique in its store."""
    return shlex.join(["nightsweep", "show", *(["--store", data.store] if data.store else [])])


def verdict(data: ReportData) -> str:
    """How far the run got, who fails least, and the worst cell, in one to three sentences."""
    parts = [_describe_coverage(data.status.coverage, is_over=data.status.state.is_over)]
    if pairs := _main_pairs(data):
        parts.append(_describe_order(pairs))
    if (worst := worst_cell(data)) is not None:
        parts.append(_describe_worst(worst))
    return " ".join(parts)


def _describe_coverage(coverage: Coverage, *, is_over: bool) -> str:
    answered = f"{coverage.answered:,} of {quantity(coverage.cells, 'cell')} answered"
    if coverage.answered == coverage.cells:
        return f"Complete: {answered}."
    parts = [answered]
    if coverage.failed:
        parts.append(f"{coverage.failed:,} failed")
    if coverage.cancelled:
        parts.append(f"{coverage.cancelled:,} cancelled")
    if coverage.to_come:
        parts.append(f"{coverage.to_come:,} {'missing' if is_over else 'to come'}")
    return f"Not complete: {', '.join(parts)}."


def _main_pairs(data: ReportData) -> Pairs | None:
    """The pairs of the heat map's rows, which are the models as a rule."""
    if data.heat_map is None:
        return None
    return next((one for one in data.pairs if one.axis == data.heat_map.row_axis), None)


def _describe_order(pairs: Pairs) -> str:
    if pairs.total == 1:
        [pair] = pairs.shown
        if not pair.is_told_apart:
            return f"{_name(pair.a)} and {_name(pair.b)} cannot be told apart."
        better, worse = (pair.a, pair.b) if pair.verdict == "better" else (pair.b, pair.a)
        return f"{_name(better)} fails less than {_name(worse)}."
    if not pairs.told_apart:
        return f"No two values of {pairs.axis} can be told apart."
    if (best := _find_best(pairs)) is not None:
        return f"{_name(best)} fails least."
    apart = f"{pairs.told_apart:,} of {pairs.total:,} pairs"
    return f"No {pairs.axis} is surely the best: {apart} can be told apart."


def _find_best(pairs: Pairs) -> str | None:
    """The value that is better than every other, as far as all its pairs are shown."""
    beaten: dict[str, set[str]] = {}
    values: set[str] = set()
    for pair in pairs.shown:
        values |= {pair.a, pair.b}
        if pair.verdict == "better":
            beaten.setdefault(pair.a, set()).add(pair.b)
        elif pair.verdict == "worse":
            beaten.setdefault(pair.b, set()).add(pair.a)
    return next((one for one, others in beaten.items() if len(others) == len(values) - 1), None)


def worst_cell(data: ReportData) -> HeatCell | None:
    """The cell of the heat map with the highest rate at the report's threshold; None if none has failed."""
    if data.heat_map is None:
        return None
    known = [
        (rate, cell)
        for cell in data.heat_map.cells
        if cell.threshold == data.threshold and (rate := main_rate(cell)) is not None
    ]
    rate, worst = max(known, key=lambda one: one[0], default=(0.0, None))
    return worst if rate > 0 else None


def main_rate(cell: HeatCell) -> float | None:
    """The rate of a cell that is shown first: the first of RATES that is known."""
    return next((one.rate for one in cell.estimates.values() if one.rate is not None), None)


def _describe_worst(cell: HeatCell) -> str:
    estimate = next(one for one in cell.estimates.values() if one.rate is not None)
    where = " on ".join(filter(None, (_name(cell.row), _name(cell.column))))
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f" ({estimate.low:.0%} to {estimate.high:.0%})"
    return f"Highest rate: {where}, {estimate.rate:.0%}{interval}."


def _name(text: str) -> str:
    return shorten(text, _LONGEST_NAME)


def next_steps(data: ReportData) -> list[Step]:
    """What to do next, the most urgent first; empty if nothing is left to do."""
    return [*_resume_steps(data), *_retry_steps(data), *_more_cases_steps(data)]


def _resume_steps(data: ReportData) -> Iterator[Step]:
    status = data.status
    if status.trouble:
        yield Step(text=f"Nothing can be saved: {shorten(status.trouble, _LONGEST_WHY)}")
    if status.state.is_over or not status.coverage.to_come:
        return
    waiting = quantity(status.coverage.to_come, "cell")
    if not status.unattended:
        yield Step(text=f"{waiting} to come: the run is still going on.")
        return
    why = status.message.rstrip(".") or "no process works on the run"
    if status.reason is StopReason.QUOTA or status.reason is StopReason.CREDIT:
        why = status.message.rstrip(".") or "the quota is used up"
    when = "" if status.resume_at is None else f", from {moment(status.resume_at)} on"
    name = "resume" if status.state is not RunState.DELETING else "delete"
    yield Step(
        text=f"{waiting} to come{when}: {shorten(why, _LONGEST_WHY)}.", command=command(data, name)
    )


def _retry_steps(data: ReportData) -> Iterator[Step]:
    status = data.status
    if failed := status.coverage.failed:
        causes = f", most often: {shorten(status.errors[0].text, 160)}" if status.errors else ""
        yield Step(
            text=f"{quantity(failed, 'cell')} failed{causes}. Retry asks them again.",
            command=command(data, "retry"),
        )
    if cancelled := status.coverage.cancelled:
        yield Step(
            text=f"{quantity(cancelled, 'cell')} cancelled.",
            command=command(data, "retry", "--cancelled"),
        )
    if unanswered := sum(status.tests_unanswered.values()):
        yield Step(
            text=f"{quantity(unanswered, 'question')} without an answer.",
            command=command(data, "retry", "--unanswered"),
        )


def _more_cases_steps(data: ReportData) -> Iterator[Step]:
    """How many more cases would tell the nearest undecided pair of each axis apart."""
    for pairs in data.pairs:
        undecided = [one for one in pairs.shown if not one.is_told_apart and needs_cases(one)]
        if undecided:
            pair = min(undecided, key=lambda one: one.cases_needed or 0)
            more = (pair.cases_needed or 0) - pair.cases
            yield Step(
                text=f"About {quantity(more, 'more case')} would tell {_name(pair.a)} from {_name(pair.b)},"
                " if their difference is as large as it seems."
            )


def needs_cases(pair: PairedDifference) -> bool:
    """Whether a finite number of further cases would probably tell a pair apart."""
    return pair.cases_needed is not None and pair.cases_needed > pair.cases
