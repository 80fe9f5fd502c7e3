"""A plan, a status, a list of runs, in words that fit a terminal of 80 columns."""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from engine.core.model import Finding, listed_reasons
from engine.core.status import Plan, QuotaStatus, RunInfo, RunState, Status, StopReason
from engine.report.terminal import plain

_MOST_LANES = 20
_FAR_S = 90.0
"""How far off a time is that is worth being said."""


def duration(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"


def moment(time: float, zone: str | None = None) -> str:
    """Date, time and zone of a time in seconds since the epoch: `2026-11-29 22:00 CET`.

    Local, unless an IANA zone is named, which then stands behind it: `2026-11-29 22:00 Europe/Berlin`.
    """
    return f"{_at(time, zone):%Y-%m-%d %H:%M} {_zone_name(time, zone)}"


def time_of_day(time: float, *, now: float, zone: str | None = None) -> str:
    """Time and zone, such as `07:42 CET`, with the date where it is not the day of `now`."""
    if _at(time, zone).date() != _at(now, zone).date():
        return moment(time, zone)
    return f"{_at(time, zone):%H:%M} {_zone_name(time, zone)}"


def _at(time: float, zone: str | None) -> datetime:
    of: tzinfo | None = None if zone is None else ZoneInfo(zone)
    return datetime.fromtimestamp(time, tz=UTC).astimezone(of)


def _zone_name(time: float, zone: str | None) -> str:
    if zone is not None:
        return zone
    name = _at(time, None).tzname() or "UTC"
    # Zones without letters of their own are called by their offset: -03.
    return f"UTC{name}" if name[:1] in "+-" else name


def plan_lines(plan: Plan) -> list[str]:
    """What a sweep would ask for."""
    saved = plan.jobs_unfolded - plan.jobs
    lines = [
        f"sweep      {plain(plan.sweep)}",
        f"cells      {plan.cells:,}",
        f"jobs       {plan.jobs:,}" + (f" (folding saves {saved:,})" if saved else ""),
        f"requests   {_requests(plan)}",
        f"quota      {_expected(plan)}",
        f"time       {_hours(plan.hours)}" + (f", bound by {plan.binding}" if plan.binding else ""),
    ]
    lanes = sorted(plan.lanes.items(), key=lambda lane: (-lane[1], lane[0]))
    for index, (lane, jobs) in enumerate(lanes[:_MOST_LANES]):
        lines.append(f"{'' if index else 'lanes':<10} {jobs:>7,} x {plain(lane)}")
    if len(lanes) > _MOST_LANES:
        lines.append(f"{'':<10} and {len(lanes) - _MOST_LANES:,} lanes more")
    lines += [f"not known  {plain(what)}" for what in plan.unknown]
    return lines


def _requests(plan: Plan) -> str:
    if not plan.calls:
        return f"{plan.requests:,}"
    to = ", ".join(f"{count:,} to the {plain(whom)}" for whom, count in plan.calls.items())
    return f"at most {plan.requests:,}: {to}"


def status_lines(status: Status) -> list[str]:
    """One look at a run, the counts first, then what stands in the way."""
    state = _state(status.state, status.reason)
    lines = [f"{plain(status.run)}: {state}", cells_line(status), jobs_line(status)]
    if status.waiting and not status.unattended:
        lines.append(waiting_line(status))
    if asked := questions_line(status):
        lines.append(asked)
    lines += [requests_line(status), tests_line(status), *accepted_lines(status)]
    lines += [f"quota {quota_words(quota)}" for quota in status.quotas]
    if left := left_line(status):
        lines.append(left)
    if status.unattended and status.state is RunState.ACTIVE:
        lines.append("no process is working on it; `nightsweep resume` goes on")
    lines += stop_lines(status)
    lines += error_lines(status)
    return lines


def _state(state: RunState, reason: StopReason | None) -> str:
    return state.value + (f" ({reason})" if reason and reason.value != state.value else "")


def cells_line(status: Status) -> str:
    """Cells with an answer, of all; failed and missing ones counted out loud."""
    more = "+ (more are being added)" if status.expanding else ""
    parts = [f"{status.cells_done:,} of {status.cells:,}{more} cells answered"]
    if failed := status.cells_failed - status.cells_cancelled:
        parts.append(f"{failed:,} failed")
    if status.cells_cancelled:
        parts.append(f"{status.cells_cancelled:,} cancelled")
    missing = status.cells - status.cells_done - status.cells_failed
    if missing:
        parts.append(f"{missing:,} missing")
    return ", ".join(parts)


def jobs_line(status: Status) -> str:
    """Jobs by state, those that there are."""
    counts = ", ".join(f"{count:,} {state}" for state, count in status.jobs.items() if count)
    return f"jobs: {counts or 'none'}"


def waiting_line(status: Status) -> str:
    """How many jobs wait for what, over all lanes, the most first; until when, if that is far off."""
    jobs: dict[str, int] = {}
    for one in status.waiting:
        jobs[one.why] = jobs.get(one.why, 0) + one.jobs
    reasons = _reasons(status)
    words = [
        f"{count:,} for {reasons[why]}"
        for why, count in sorted(jobs.items(), key=lambda item: (-item[1], item[0]))
    ]
    return f"waiting: {', '.join(words)}"


def _reasons(status: Status) -> dict[str, str]:
    """What is waited for, in words that say until when if that is far off."""
    until: dict[str, float] = {}
    for one in status.waiting:
        if one.until is not None and one.until > status.at + _FAR_S:
            until[one.why] = min(until.get(one.why, one.until), one.until)
    return {
        one.why: plain(one.why) + (f" until {moment(until[one.why])}" if one.why in until else "")
        for one in status.waiting
    }


def not_sent(status: Status) -> int:
    """Jobs that are neither in flight nor done."""
    return status.jobs.get("pending", 0) + status.jobs.get("waiting", 0)


def requests_line(status: Status) -> str:
    """Requests of the last minute against the limit."""
    limit = f" of {status.rate_per_min:,}" if status.rate_per_min is not None else ""
    return f"requests: {status.requests_per_min:,.0f}{limit} per minute"


def questions_line(status: Status) -> str:
    """Questions answered of all; empty where jobs do not say how many they ask, or others know."""
    if not status.questions or status.questions_answered is None:
        return ""
    return f"questions: {status.questions_answered:,} of {status.questions:,} answered"


def tests_line(status: Status) -> str:
    """Tests that passed and failed so far, and who says so."""
    return tests_counted(status) + (f" ({judged_by(status.judge)})" if status.judge else "")


def tests_counted(status: Status) -> str:
    """Tests that passed and failed so far, beside a line that says who judges."""
    counted = f"tests: {status.tests_passed:,} passed, {status.tests_failed:,} failed"
    if not status.tests_unanswered:
        return counted
    unanswered = sum(status.tests_unanswered.values())
    return (
        f"{counted}, {unanswered:,} unanswered ({plain(listed_reasons(status.tests_unanswered))})"
    )


def accepted_lines(status: Status) -> list[str]:
    """What was accepted in the course of the run: its answers are of several versions."""
    return [plain(message) for message in status.accepted]


def judged_by(judge: str) -> str:
    """Whose verdicts numbers are, where they are not the service's own."""
    return f"judged by {plain(judge)}"


def quota_words(quota: QuotaStatus) -> str:
    """One quota: used of allotted, and what is held for requests in flight."""
    held = f" ({quota.reserved:,} held)" if quota.reserved else ""
    # The numbers first: what is cut off on a narrow terminal is the name.
    period = "" if quota.period == "run" else f" in {plain(quota.period)}"
    return f"{quota.used:,} of {quota.allotted:,}{held}{period}: {plain(quota.name)}"


def left_line(status: Status) -> str:
    """How long it will take, and because of which limit; empty when nobody knows, or works on it."""
    if not status.seconds_left or status.unattended or status.state is not RunState.ACTIVE:
        return ""
    bound = f", bound by {plain(status.binding)}" if status.binding else ""
    return f"about {duration(status.seconds_left)} left{bound}"


def stop_lines(status: Status) -> list[str]:
    """Why a run does not go on, and when it can."""
    lines = [plain(status.message)] if status.message else []
    if status.resume_at is not None:
        lines.append(f"it can go on from {moment(status.resume_at)}")
    return lines


def error_lines(status: Status, most: int = 3) -> list[str]:
    """The most frequent kinds of errors, each with an example where the service said something."""
    if not status.errors:
        return []
    lines = ["most frequent errors:"]
    for kind in status.errors[:most]:
        whole = f"{kind.message}: {kind.example}" if kind.example else kind.message
        lines.append(f"    {kind.jobs:,} x {plain(whole if kind.jobs == 1 else kind.message)}")
        if kind.jobs > 1 and kind.example:
            lines.append(f"        such as: {plain(kind.example)}")
    if (hidden := len(status.errors) - most) > 0:
        lines.append(f"    and {hidden:,} other kind{'s' * (hidden > 1)} of error")
    return lines


def summary_lines(status: Status) -> list[str]:
    """How a run ended: what was answered, what failed and why, and what stands in the way."""
    lines = [f"{plain(status.run)}: {cells_line(status)}"]
    if status.tests_passed or status.tests_failed:
        lines.append(tests_line(status))
    lines += accepted_lines(status)
    return [*lines, *error_lines(status), *stop_lines(status)]


def runs_lines(runs: Iterable[RunInfo]) -> list[str]:
    """One line for each run: name, state, jobs answered of all, when it was last worked on."""
    lines = []
    for run in runs:
        state = _state(run.state, run.reason)
        done = f"{run.jobs.get('succeeded', 0):,}/{sum(run.jobs.values()):,}"
        lines.append((plain(run.name), state, done, moment(run.updated_at), plain(run.evaluation)))
    if not lines:
        return ["no runs"]
    head = ("RUN", "STATE", "JOBS", "LAST CHANGE", "EVALUATION")
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    ]


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """One line for each thing that was looked at."""
    return [
        f"{'ok ' if one.ok else 'BAD'}  {plain(one.name)}: {plain(one.message)}" for one in findings
    ]


def progress_line(status: Status) -> str:
    """One line about a running run, for a log."""
    reasons = ", ".join(_reasons(status).values())
    parts = [
        f"{status.cells_done:,}/{status.cells:,} cells",
        f"{status.jobs.get('running', 0):,} running",
        questions_line(status).removeprefix("questions: ").replace(" answered", " questions"),
        f"{not_sent(status):,} waiting" + (f" ({reasons})" if reasons else ""),
        f"{status.cells_failed:,} failed",
        requests_line(status).removeprefix("requests: "),
        tests_line(status),
        *(f"quota {one.used:,}/{one.allotted:,}" for one in status.quotas[:1]),
        left_line(status),
    ]
    return ", ".join(filter(None, parts))


def _expected(plan: Plan) -> str:
    if plan.expected_tests is None:
        return "only the service knows"
    if plan.expected_tests == 0:
        return "none"
    if plan.tests_learnt:
        return f"about {plan.expected_tests:,} tests, by what earlier answers cost"
    return f"at most {plan.expected_tests:,} tests"


def _hours(hours: float | None) -> str:
    return "no limit tells" if hours is None else f"at least {duration(hours * 3600)}"
