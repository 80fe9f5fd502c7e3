"""A plan as text for a terminal of 80 columns."""

from engine.core.listing import quantity
from engine.core.status import Plan, StoredCells
from engine.core.terminal import plain
from engine.report.money import estimate_lines
from engine.report.reuse import reuse_words
from engine.report.times import duration, moment

_MOST_LANES = 20


def plan_lines(plan: Plan) -> list[str]:
    """The cells, jobs, requests, quota, cost and time of a sweep, then its lanes, those with most jobs first.

    What the store already has is taken into account if the plan knows it. At most _MOST_LANES lanes are
    named and the rest counted; last comes what is not known.
    """
    saved = plan.jobs_unfolded - plan.jobs
    lines = [
        f"sweep      {plain(plan.sweep)}",
        f"cells      {plan.cells:,}",
        f"jobs       {plan.jobs:,}" + (f" (folding saves {saved:,})" if saved else ""),
        f"requests   {_requests(plan)}",
        f"quota      {_quota(plan)}",
        *(f"cost       {line}" for line in estimate_lines(plan.money)),
        f"time       {_time(plan)}",
    ]
    stored = plan.stored
    if stored is None or stored.is_empty:
        lines += _finish_lines(plan)
    else:
        lines += _stored_lines(stored)
    if stored is not None and stored.has_replies:
        lines.append("           replies kept from earlier calls may reduce this")
    lanes = sorted(plan.lanes.items(), key=lambda lane: (-lane[1], lane[0]))
    for index, (lane, jobs) in enumerate(lanes[:_MOST_LANES]):
        lines.append(f"{'' if index else 'lanes':<10} {jobs:>7,} x {plain(lane)}")
    if len(lanes) > _MOST_LANES:
        lines.append(f"{'':<10} and {len(lanes) - _MOST_LANES:,} more lanes")
    lines += [f"not known  {plain(what)}" for what in plan.unknown]
    return lines


def _stored_lines(stored: StoredCells) -> list[str]:
    """The part of a sweep that the store already has, and what is left to do."""
    left = stored.left
    parts = [
        *[f"{quantity(stored.cells_answered, 'cell')} answered"] * bool(stored.cells_answered),
        *map(reuse_words, stored.reused),
        *[f"{quantity(stored.cells_failed, 'cell')} failed (`retry` asks again)"]
        * bool(stored.cells_failed),
        *[f"{quantity(stored.cells_cancelled, 'cell')} cancelled (`retry --cancelled` asks again)"]
        * bool(stored.cells_cancelled),
    ]
    lines = [
        f"stored     {', '.join(parts)}",
        f"left       {quantity(left.cells, 'cell')}, {quantity(left.jobs, 'job')}",
    ]
    if not left.jobs:
        return lines
    return [
        *lines,
        f"           requests: {_requests(left)}",
        f"           quota: {_quota(left)}",
        f"           time: {_time(left)}",
        *_finish_lines(left),
    ]


def _time(plan: Plan) -> str:
    return _hours(plan.hours) + (f", bound by {plan.binding}" if plan.binding else "")


def _requests(plan: Plan) -> str:
    parts = ["none"] if plan.questions and not plan.requests else []
    if plan.calls:
        to = ", ".join(f"{count:,} to the {plain(whom)}" for whom, count in plan.calls.items())
        parts.append(f"at most {plan.requests:,}: {to}")
    elif not parts:
        parts.append(f"{plan.requests:,}")
    if plan.questions:
        parts.append(f"at most {plan.questions:,} questions to the model in this process")
    return "; ".join(parts)


def _finish_lines(plan: Plan) -> list[str]:
    """When the sweep would finish if started now, and a warning if that is after its deadline."""
    lines = []
    if plan.finish_at is not None:
        within = f", only within {plan.window}" if plan.window else ""
        lines.append(f"finish     {moment(plan.finish_at)} at the earliest, starting now{within}")
    deadline, at = plan.deadline, plan.starts_at
    if deadline is not None and at is not None and max(at, plan.finish_at or at) > deadline:
        lines.append(
            f"warning    the deadline, {moment(deadline)}, is before that: cells that are left then are not asked"
        )
    return lines


def _quota(plan: Plan) -> str:
    if plan.expected_tests is None:
        return "only the service knows"
    if plan.expected_tests == 0:
        return "none"
    if not plan.tests_learnt:
        return f"at most {plan.expected_tests:,} tests"
    about = f"about {plan.expected_tests:,} tests, based on earlier answers"
    if plan.most_tests is None or plan.most_tests <= plan.expected_tests:
        return about
    return f"{about}; at most {plan.most_tests:,}"


def _hours(hours: float | None) -> str:
    return "unknown: no limit applies" if hours is None else f"at least {duration(hours * 3600)}"
