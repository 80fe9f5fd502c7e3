"""What the jobs of a run wait for, as text."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from engine.core.error_kinds import mask
from engine.core.lanes import LaneState
from engine.core.listing import join_first, quantity
from engine.core.runs import WaitReason
from engine.core.status import Status, Waiting
from engine.core.terminal import plain
from engine.report.times import duration, time_of_day

_FAR_S = 90.0
"""Only times further off than this are shown as such; nearer ones as durations, or not at all."""
MOST_CAUSES = 3
"""The most causes of waiting, or of failures, that are shown one by one."""


@dataclass(frozen=True, slots=True)
class _Words:
    """The words for jobs that wait: `text` if there is no better explanation, and what happens to them."""

    text: str
    verb: str = "held"
    is_queued: bool = False
    """Whether they only wait for their turn, so that `text` says all."""


_WORDS = {
    WaitReason.QUEUED: _Words("queued", is_queued=True),
    WaitReason.RATE: _Words("queued at the rate limit", is_queued=True),
    WaitReason.PACE: _Words("queued at the pace that the service allows", is_queued=True),
    WaitReason.RETRY: _Words("backing off", verb="backing off", is_queued=True),
    WaitReason.HELD: _Words("the service asked to wait"),
    WaitReason.THROTTLED: _Words("the service refuses requests as too many"),
    WaitReason.FIRST_ANSWER: _Words(
        "queued for the first answer, which tells their cost", is_queued=True
    ),
    WaitReason.QUOTA_UNKNOWN: _Words(
        "queued one at a time until the service tells its quota", is_queued=True
    ),
    WaitReason.QUOTA: _Words("the quota is used up"),
    WaitReason.CREDIT: _Words("the account is empty"),
    WaitReason.HEALTH: _Words("the model's health is being checked"),
    WaitReason.UNHEALTHY: _Words("no reason given"),
    WaitReason.ERRORS: _Words("the same error came over and over"),
    WaitReason.OUTAGE: _Words("the service is away"),
    WaitReason.REFUSED: _Words("the service refused the key or the quota"),
    WaitReason.GIVEN_UP: _Words("the service is away", verb="given up"),
    WaitReason.MACHINE: _Words("this machine ran short of something"),
    WaitReason.WINDOW: _Words("until the window opens", is_queued=True),
}


def jobs_line(status: Status) -> str:
    """The number of jobs in flight, queued and ended; counts of 0 are left out.

    Jobs that wait for something other than their turn are not counted here (`held_lines` has them); empty
    if there are no others.
    """
    waiting = [] if status.unattended else _list_queued(status)
    explained = sum(one.jobs for one in status.waiting if not status.unattended)
    counts = {
        "running": status.jobs.get("running", 0),
        **dict(waiting),
        "to go": not_sent(status) - explained,
        "answered": status.jobs.get("succeeded", 0),
        "failed": status.jobs.get("failed", 0),
        "cancelled": status.jobs.get("cancelled", 0),
    }
    counted = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count > 0)
    if not counted and explained:
        return ""
    return f"jobs: {counted or 'none'}"


def held_lines(status: Status) -> list[str]:
    """What holds jobs, most jobs first: their number, and why.

    At most MOST_CAUSES are named, and the jobs of the others counted. Empty if no process executes the run,
    because then nothing else matters.
    """
    if status.unattended:
        return []
    groups = _group_held(status.waiting)
    lines = sorted(
        ((sum(one.jobs for one in group), _describe_held(group, status)) for group in groups),
        key=lambda line: (-line[0], line[1]),
    )
    shown = [f"{jobs:,} {cause}" for jobs, cause in lines[:MOST_CAUSES]]
    if more := sum(jobs for jobs, _ in lines[MOST_CAUSES:]):
        shown.append(f"and {more:,} more")
    return shown


def lane_lines(lanes: Sequence[LaneState], now: float) -> list[str]:
    """What keeps lanes from sending, as the processes that work on them last reported.

    A time that is not after `now` is left out. At most MOST_CAUSES are named.
    """
    waiting = [
        Waiting(
            lane=one.name,
            why=one.why,
            jobs=0,
            until=one.until if one.until is not None and one.until > now else None,
            detail=one.detail,
        )
        for one in lanes
    ]
    groups = _group_held(waiting)
    shown = [_explain(group, {one.name for one in lanes}, now) for group in groups[:MOST_CAUSES]]
    if more := sum(map(len, groups[MOST_CAUSES:])):
        shown.append(f"and {quantity(more, 'lane')} more")
    openings = [one.until for one in lanes if one.why is WaitReason.WINDOW and one.until]
    if openings and min(openings) > now:
        text = _WORDS[WaitReason.WINDOW].text
        shown.append(f"queued {text} at {time_of_day(min(openings), now=now)}")
    return shown


def _group_held(waiting: Iterable[Waiting]) -> list[list[Waiting]]:
    """Group those that are not only queued by their cause."""
    groups: dict[tuple[WaitReason, str], list[Waiting]] = {}
    for one in waiting:
        if not _WORDS[one.why].is_queued or one.detail:
            groups.setdefault((one.why, mask(one.detail)), []).append(one)
    return list(groups.values())


def _list_queued(status: Status) -> list[tuple[str, int]]:
    """The numbers of queued jobs by their words, the largest first."""
    jobs: Counter[str] = Counter()
    for why, group in _group_queued(status).items():
        text = _WORDS[why].text
        until = min((one.until for one in group if one.until is not None), default=None)
        if why is WaitReason.WINDOW and until is not None:
            text += f" at {time_of_day(until, now=status.at, zone=group[0].zone)}"
        elif until is not None and until > status.at + _FAR_S:
            text += f" until {time_of_day(until, now=status.at)}"
        jobs[text] += sum(one.jobs for one in group)
    return jobs.most_common()


def _group_queued(status: Status) -> dict[WaitReason, list[Waiting]]:
    groups: dict[WaitReason, list[Waiting]] = {}
    for one in status.waiting:
        if _WORDS[one.why].is_queued:
            groups.setdefault(one.why, []).append(one)
    return groups


def _describe_held(group: Sequence[Waiting], status: Status) -> str:
    """Why some jobs are held, and in which lanes if others are not."""
    is_reserved = any(quota.reserved for quota in status.quotas)
    all_lanes = {one.lane for one in status.waiting}
    return _explain(group, all_lanes, status.at, is_reserved=is_reserved)


def _explain(
    group: Sequence[Waiting],
    all_lanes: Collection[str],
    now: float,
    *,
    is_reserved: bool = False,
) -> str:
    lanes = sorted({one.lane for one in group})
    of = (
        f" for {join_first([plain(lane) for lane in lanes])}" if len(lanes) < len(all_lanes) else ""
    )
    return f"{_WORDS[group[0].why].verb}{of}: {_cause(group, now, is_reserved=is_reserved)}"


def _cause(group: Sequence[Waiting], now: float, *, is_reserved: bool) -> str:
    why = group[0].why
    detail = plain(group[0].detail) or _WORDS[why].text
    until = min((one.until for one in group if one.until is not None), default=None)
    match why:
        case WaitReason.HELD:
            return f"{_WORDS[why].text}{_until(until, now)}"
        case WaitReason.THROTTLED:
            return f"{_WORDS[why].text}{_again(until, now)}"
        case WaitReason.QUOTA if not group[0].detail and is_reserved:
            return "what is left of the quota is reserved for jobs in flight"
        case WaitReason.UNHEALTHY:
            lanes = sorted({plain(one.lane) for one in group})
            return f"{join_first(lanes)} {'is' if len(lanes) == 1 else 'are'} unhealthy: {detail}"
        case WaitReason.REFUSED:
            return f"{detail}; asked again before that is believed"
        case WaitReason.ERRORS | WaitReason.MACHINE:
            return f"{detail}{_again(until, now)}"
        case _:
            return detail


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
    """The number of jobs that are neither in flight nor ended: queued for the first time, or to be tried again."""
    return status.jobs.get("pending", 0) + status.jobs.get("waiting", 0)
