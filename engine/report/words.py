"""A plan, a status, a list of runs, in words that fit a terminal of 80 columns."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from engine.core.error_kinds import masked
from engine.core.listing import counted, listed
from engine.core.model import Finding, listed_reasons
from engine.core.status import (
    Held,
    Plan,
    QuotaStatus,
    RunInfo,
    RunState,
    Status,
    StopReason,
    TakenOver,
    Waiting,
    WaitReason,
)
from engine.report.money import estimate_lines, spending_lines, spent_lines
from engine.report.terminal import plain

_MOST_LANES = 20
_FAR_S = 90.0
"""How far off a time is that is worth being said."""
_MOST_CAUSES = 3

_IN_LINE = {
    WaitReason.QUEUED: "queued",
    WaitReason.RATE: "queued at the rate limit",
    WaitReason.PACE: "queued at the pace that the service allows",
    WaitReason.FIRST_ANSWER: "queued for the first answer, which tells their cost",
    WaitReason.RETRY: "backing off",
    WaitReason.WINDOW: "until the window opens",
}
"""Reasons to wait that say all in a word; any other is held for a cause."""

_AT = {
    "speed so far": "at the current speed",
    "rate": "at the rate limit",
    "the run's window": "within the window",
}
"""What some limits on the time left are called after it."""


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
        *(f"cost       {line}" for line in estimate_lines(plan.money)),
        f"time       {_time(plan)}",
    ]
    held = plan.held
    if held is None or held.is_empty:
        lines += _finish_lines(plan)
    else:
        lines += _held_lines(held)
    if held is not None and held.has_replies:
        lines.append("           replies that are kept from earlier calls may make it less")
    lanes = sorted(plan.lanes.items(), key=lambda lane: (-lane[1], lane[0]))
    for index, (lane, jobs) in enumerate(lanes[:_MOST_LANES]):
        lines.append(f"{'' if index else 'lanes':<10} {jobs:>7,} x {plain(lane)}")
    if len(lanes) > _MOST_LANES:
        lines.append(f"{'':<10} and {len(lanes) - _MOST_LANES:,} more lanes")
    lines += [f"not known  {plain(what)}" for what in plan.unknown]
    return lines


def _held_lines(held: Held) -> list[str]:
    """What the store holds of a sweep, and what is left of all that stands above."""
    left = held.left
    parts = [
        *[f"{counted(held.cells_answered, 'cell')} answered"] * bool(held.cells_answered),
        *map(_taken_over, held.taken_over),
        *[f"{counted(held.cells_failed, 'cell')} failed (`retry` asks again)"]
        * bool(held.cells_failed),
    ]
    lines = [
        f"held       {', '.join(parts)}",
        f"left       {counted(left.cells, 'cell')}, {counted(left.jobs, 'job')}",
    ]
    if not left.jobs:
        return lines
    return [
        *lines,
        f"           requests: {_requests(left)}",
        f"           quota: {_expected(left)}",
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
    """When the sweep is done if it starts now, and whether that is in time."""
    lines = []
    if plan.finish_at is not None:
        within = f", only within {plan.window}" if plan.window else ""
        lines.append(f"finish     {moment(plan.finish_at)} at the earliest, starting now{within}")
    deadline, at = plan.deadline, plan.starts_at
    if deadline is not None and at is not None and max(at, plan.finish_at or at) > deadline:
        lines.append(
            f"warning    the deadline, {moment(deadline)}, is before that: what is left then is not asked"
        )
    return lines


def status_lines(status: Status) -> list[str]:
    """One look at a run, the counts first, then what stands in the way."""
    state = _state(status.state, status.reason)
    lines = [f"{plain(status.run)}: {state}", *trouble_lines(status)]
    lines += [cells_line(status), *_if_any(jobs_line(status))]
    lines += [*reuse_lines(status), *held_lines(status)]
    lines += _if_any(questions_line(status)) + _if_any(requests_line(status))
    lines += [tests_line(status), *accepted_lines(status)]
    lines += spending_lines(status.spending)
    lines += [f"quota {quota_words(quota)}" for quota in status.quotas]
    if left := left_line(status):
        lines.append(left)
    if status.unattended and status.state is RunState.ACTIVE:
        lines.append("no process is working on it; `nightsweep resume` goes on")
    lines += stop_lines(status)
    lines += error_lines(status)
    return lines


def trouble_lines(status: Status) -> list[str]:
    """That nothing can be saved, since when and why; nothing while all is well."""
    if status.trouble_since is None:
        return []
    since = time_of_day(status.trouble_since, now=status.at)
    return [f"nothing can be saved since {since}: {plain(status.trouble)}"]


def _state(state: RunState, reason: StopReason | None) -> str:
    return state.value + (f" ({reason})" if reason and reason.value != state.value else "")


def cells_line(status: Status) -> str:
    """Cells with an answer, of all; those that failed, are to go or are missing counted out loud."""
    more = "+ (more are being added)" if status.expanding else ""
    parts = [f"{status.cells_done:,} of {status.cells:,}{more} cells answered"]
    if failed := status.cells_failed - status.cells_cancelled:
        parts.append(f"{failed:,} failed")
    if status.cells_cancelled:
        parts.append(f"{status.cells_cancelled:,} cancelled")
    if rest := status.cells - status.cells_done - status.cells_failed:
        parts.append(f"{rest:,} {'missing' if status.state.is_over else 'to go'}")
    return ", ".join(parts)


def jobs_line(status: Status) -> str:
    """Jobs by what they do: in flight, in line, and how they ended; empty where all are held."""
    waiting = [] if status.unattended else _in_line(status)
    explained = sum(one.jobs for one in status.waiting if not status.unattended)
    counts = {
        "running": status.jobs.get("running", 0),
        **dict(waiting),
        "to go": not_sent(status) - explained,
        "answered": status.jobs.get("succeeded", 0),
        "failed": status.jobs.get("failed", 0),
        "cancelled": status.jobs.get("cancelled", 0),
    }
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count > 0)
    if not said and explained:
        return ""
    return f"jobs: {said or 'none'}"


def held_lines(status: Status) -> list[str]:
    """What keeps jobs from being sent, most jobs first: how many, and why in whole sentences."""
    if status.unattended:
        return []
    groups: dict[tuple[WaitReason, str], list[Waiting]] = {}
    for one in status.waiting:
        if one.why not in _IN_LINE or one.detail:
            groups.setdefault((one.why, masked(one.detail)), []).append(one)
    lines = sorted(
        ((sum(one.jobs for one in group), _held(group, status)) for group in groups.values()),
        key=lambda line: (-line[0], line[1]),
    )
    shown = [f"{jobs:,} {said}" for jobs, said in lines[:_MOST_CAUSES]]
    if more := sum(jobs for jobs, _ in lines[_MOST_CAUSES:]):
        shown.append(f"and {more:,} more")
    return shown


def _in_line(status: Status) -> list[tuple[str, int]]:
    """Jobs that take their turn by what is said of them, the most first."""
    jobs: Counter[str] = Counter()
    for why, group in _by_reason(status).items():
        said = _IN_LINE[why]
        until = min((one.until for one in group if one.until is not None), default=None)
        if why is WaitReason.WINDOW and until is not None:
            said += f" at {time_of_day(until, now=status.at, zone=group[0].zone)}"
        elif until is not None and until > status.at + _FAR_S:
            said += f" until {time_of_day(until, now=status.at)}"
        jobs[said] += sum(one.jobs for one in group)
    return jobs.most_common()


def _by_reason(status: Status) -> dict[WaitReason, list[Waiting]]:
    groups: dict[WaitReason, list[Waiting]] = {}
    for one in status.waiting:
        if one.why in _IN_LINE:
            groups.setdefault(one.why, []).append(one)
    return groups


def _held(group: Sequence[Waiting], status: Status) -> str:
    """Why some jobs are held, and for which models where others are not."""
    lanes = sorted({one.lane for one in group})
    others = {one.lane for one in status.waiting}.difference(lanes)
    of = f" for {listed([plain(lane) for lane in lanes])}" if others else ""
    verb = {WaitReason.GIVEN_UP: "given up", WaitReason.RETRY: "backing off"}
    return f"{verb.get(group[0].why, 'held')}{of}: {_cause(group, status.at)}"


def _cause(group: Sequence[Waiting], now: float) -> str:
    why, detail = group[0].why, plain(group[0].detail)
    until = min((one.until for one in group if one.until is not None), default=None)
    match why:
        case WaitReason.HELD:
            return f"the service asked to wait{_until(until, now)}"
        case WaitReason.THROTTLED:
            return f"the service refuses requests as too many{_again(until, now)}"
        case WaitReason.QUOTA:
            return detail or "the quota is used up"
        case WaitReason.CREDIT:
            return detail or "the account is empty"
        case WaitReason.HEALTH:
            return "the model's health is being checked"
        case WaitReason.UNHEALTHY:
            lanes = sorted({plain(one.lane) for one in group})
            return f"{listed(lanes)} {'is' if len(lanes) == 1 else 'are'} unhealthy: {detail}"
        case WaitReason.ERRORS | WaitReason.MACHINE:
            return f"{detail}{_again(until, now)}"
        case _:
            return detail or "the service is away"


def _until(until: float | None, now: float) -> str:
    if until is None:
        return ""
    far = until > now + _FAR_S
    return f" until {time_of_day(until, now=now)}" if far else f" {duration(until - now)}"


def _again(until: float | None, now: float) -> str:
    if until is None:
        return ""
    far = until > now + _FAR_S
    return f"; next try {f'at {time_of_day(until, now=now)}' if far else f'in {duration(until - now)}'}"


def not_sent(status: Status) -> int:
    """Jobs that are neither in flight nor done."""
    return status.jobs.get("pending", 0) + status.jobs.get("waiting", 0)


def requests_line(status: Status) -> str:
    """Requests of the last minute against the limit; empty where none leaves this process."""
    if status.requests_per_min is None:
        return ""
    limit = f" of {status.rate_per_min:,}" if status.rate_per_min is not None else ""
    return f"requests: {status.requests_per_min:,.0f}{limit} per minute"


def questions_line(status: Status) -> str:
    """Questions answered of all; empty where jobs do not say how many they ask, or others know."""
    if not status.questions or status.questions_answered is None:
        return ""
    return f"questions: {status.questions_answered:,} of {status.questions:,} answered"


def tests_line(status: Status) -> str:
    """Tests that passed and failed so far, at which threshold, and who says so."""
    return tests_counted(status) + (f" ({judged_by(status.judge)})" if status.judge else "")


def tests_counted(status: Status) -> str:
    """Tests that passed and failed so far at a threshold, beside a line that says who judges."""
    counted = (
        f"tests: {status.tests_passed:,} passed, {status.tests_failed:,} failed"
        f"{at_threshold(status.threshold)}"
    )
    if not status.tests_unanswered:
        return counted
    unanswered = sum(status.tests_unanswered.values())
    return (
        f"{counted}, {unanswered:,} unanswered ({plain(listed_reasons(status.tests_unanswered))})"
    )


def at_threshold(threshold: float | None) -> str:
    """Where tests were counted; empty where the evaluation has no thresholds."""
    return "" if threshold is None else f" at threshold {threshold:g}"


def accepted_lines(status: Status) -> list[str]:
    """What was accepted in the course of the run: its answers are of several versions."""
    return [plain(message) for message in status.accepted]


def _if_any(line: str) -> list[str]:
    return [line] if line else []


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
    done = time_of_day(status.at + status.seconds_left, now=status.at)
    by = f" {_at_limit(status.binding)}" if status.binding else ""
    return f"about {duration(status.seconds_left)} left (done {done}){by}"


def _at_limit(binding: str) -> str:
    """A limit as the time left is told at it: `at a model's rate limit`, `at the judge's token limit`."""
    return _AT.get(binding) or f"at {plain(binding).removesuffix('s')} limit"


def stop_lines(status: Status) -> list[str]:
    """Why a run does not go on, and when it can."""
    lines = [plain(status.message)] if status.message else []
    if status.resume_at is not None:
        lines.append(f"it can go on from {moment(status.resume_at)}")
    return lines


def error_lines(status: Status, *, longest: int | None = None) -> list[str]:
    """Why jobs failed, the most frequent cause first; none is longer than `longest` characters."""
    if not status.errors:
        return []
    lines = ["why jobs failed:"]
    lines += [
        f"  {counted(kind.jobs, 'job')}: {shortened(plain(kind.text), longest)}"
        for kind in status.errors[:_MOST_CAUSES]
    ]
    if (hidden := len(status.errors) - _MOST_CAUSES) > 0:
        lines.append(f"  and {hidden:,} more")
    return lines


def shortened(text: str, longest: int | None) -> str:
    """A text, or its beginning where it is longer than that."""
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def summary_lines(status: Status) -> list[str]:
    """How a run ended: what was answered, what failed and why, and what stands in the way."""
    lines = [f"{plain(status.run)}: {cells_line(status)}", *reuse_lines(status)]
    if status.tests_passed or status.tests_failed:
        lines.append(tests_line(status))
    lines += spent_lines(status.spending)
    lines += accepted_lines(status)
    return [*lines, *trouble_lines(status), *error_lines(status), *stop_lines(status)]


def reuse_lines(status: Status) -> list[str]:
    """What was not asked because the store held it, and that nothing was asked where that is all."""
    held = [_taken_over(one) for one in status.taken_over]
    session = status.session
    lines = []
    if session is None:
        lines += [f"of these, {', '.join(held)}"] if held else []
    else:
        if session.cells_before:
            held.insert(0, f"{counted(session.cells_before, 'cell')} answered before")
        if session.replies_kept:
            replies = session.replies_kept + session.replies_asked
            held.append(f"{session.replies_kept:,} of {replies:,} replies kept from earlier calls")
        if held and session.has_sent:
            lines.append(f"not asked again: {', '.join(held)}")
        elif held:
            lines.append(f"nothing was sent: {', '.join(held)}; `run --fresh` asks again")
    if status.cells_outdated:
        when = "" if status.fresh_at is None else f" from before {moment(status.fresh_at)}"
        lines.append(
            f"{counted(status.cells_outdated, 'cell')} with an answer{when}: asking again has failed"
        )
    return lines


def _taken_over(one: TakenOver) -> str:
    whose = "a run that was deleted" if one.run is None else f"the run {plain(one.run)}"
    cells = counted(one.cells, "cell")
    return f"{cells} taken over from {whose} (answered {moment(one.answered_at)})"


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
    """One line about a running run, for a log: when, counts, and the causes of what does not go on."""
    counts = [
        f"{status.cells_done:,}/{status.cells:,} cells",
        questions_line(status),
        jobs_line(status),
        requests_line(status),
        tests_line(status),
        *(f"quota {one.used:,}/{one.allotted:,}" for one in status.quotas[:1]),
        left_line(status),
    ]
    causes = trouble_lines(status) + held_lines(status)
    if status.errors:
        first, *others = status.errors
        more = f" and {counted(len(others), 'more cause')}" if others else ""
        causes.append(f"{counted(first.jobs, 'job')} failed: {plain(first.text)}{more}")
    when = datetime.fromtimestamp(status.at, UTC).astimezone().isoformat(timespec="seconds")
    return f"{when} {'; '.join(filter(None, [*counts, *causes]))}"


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
