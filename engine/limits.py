"""Admission: what may be started now, lane by lane.

The store keeps the rates and quotas, which all processes share; here is what one process knows of its
lanes: how many jobs are in flight, how many may be, what a lane waits for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from math import inf
from operator import attrgetter
from zoneinfo import ZoneInfo

from engine.core.breaker import Breaker, BreakerState
from engine.core.concurrency import Concurrency, LaneDemand, allot
from engine.core.doubt import Doubt
from engine.core.errors import JobError
from engine.core.lanes import STANDS_STILL, LaneState
from engine.core.pace import Pace
from engine.core.policy import Limits, Retry, Window
from engine.core.retry import Blame, is_away
from engine.core.runs import WaitReason

_PLENTY = 1_000_000
UNMET_S = 600.0
"""How long a service is waited for that has never answered: long enough to load a model."""
_PAUSE_MAX_S = 60.0
_CALENDAR_S = 100 * 366 * 24 * 3600.0


class Block(StrEnum):
    """What holds up a lane until something other than time changes."""

    QUOTA = "quota"
    CREDIT = "credit"
    """The account is empty: given up for this session."""
    HEALTH = "health"
    """Its target is being asked for its health, or was found sick."""
    SICK = "sick"
    """Its target stayed unhealthy: given up, unless it gets well while the rest goes on."""
    PARKED = "parked"
    """The same error over and over, or a service that stayed away: given up for this session."""


@dataclass(slots=True)
class Lane:
    """One lane as this process sees it. Times are seconds since the epoch."""

    name: str
    concurrency: Concurrency
    breaker: Breaker
    doubt: Doubt | None = None
    """A refusal that is being confirmed."""
    classes: tuple[str, ...] = ()
    """The cost classes that may hold jobs to be claimed."""
    in_flight: int = 0
    served: int = 0
    """The turn in which it last got jobs."""
    next_at: float = 0.0
    """When asking the store for jobs makes sense again; infinite until an answer comes in."""
    waits_for: WaitReason = WaitReason.QUEUED
    """What it waits for until then."""
    block: Block | None = None
    why: str = ""
    """What was said when it was blocked or its breaker opened, the cause first."""
    throttled: int = 0
    """429s in a row; those that came while the lane was already held count once."""
    throttled_until: float = 0.0
    is_told_when: bool = False
    """Whether the service said, with the last of these, when to ask again."""
    answers: int = 0
    """How often the service has answered here, also with an error that only it can send."""
    answered_at: float | None = None
    """When it last did, in this run; None if it never has."""
    worked_at: float = -inf
    """When a job last had an answer: a request that began before and fails says nothing of the time since."""
    probe: tuple[int, int] | None = None
    """Job and fence of the request that was sent to see whether the service is there, or still refuses."""
    suspects: dict[int, int] = field(default_factory=dict)
    """Jobs that found the service away, with `answers` at the first time, until they have come to an end."""
    pace: Pace = field(default_factory=Pace)
    """How fast the service has let its requests through, where it has refused some."""

    def capacity(self, now: float, *, share: int, freed: int = 0) -> int:
        """How many more jobs may be in flight now, with `freed` slots about to be free.

        The lane is shared between `share` processes.
        """
        if self.block is not None:
            return 0
        allowed = _shared(self.concurrency.allowed(now), share) - self.in_flight + freed
        doubted = None if self.doubt is None else self.doubt.admits(now)
        for admitted in (self.breaker.admits(now), self.pace.admits(), doubted):
            allowed = allowed if admitted is None else min(admitted, allowed)
        return max(0, allowed)

    def wakes_at(self, now: float, *, share: int, freed: int = 0) -> float:
        """When this lane may start something, as far as time alone decides."""
        if not self.classes or self.block is not None:
            return inf
        soonest = self.next_at
        if self.pace.admits() == 0:
            soonest = max(soonest, self.pace.admits_at)
        if self.doubt is not None:
            if self.doubt.is_asking or self.doubt.is_trying:
                return inf
            soonest = max(soonest, self.doubt.until)
        if self.breaker.state is BreakerState.OPEN:
            if self.breaker.probing:
                return inf
            return max(soonest, self.breaker.open_until)
        if self.breaker.state is BreakerState.PARKED:
            return inf
        taken = self.in_flight - freed
        if _shared(self.concurrency.allowed(now), share) <= taken:
            return max(soonest, self.concurrency.allows_at(share * (taken + 1)))
        return soonest

    def starts(self, now: float, job_id: int, fence: int, *, is_alone: bool) -> None:
        """A job was claimed: where only one may be sent, to see how things stand, it is that one.

        What was claimed just before its lane was closed is not, and will be given back.
        """
        admitted = {self.breaker.admits(now)}
        admitted |= {None if self.doubt is None else self.doubt.admits(now)}
        if 1 in admitted and 0 not in admitted:
            self.probe = job_id, fence
            self.breaker = self.breaker.started()
            if self.doubt is not None:
                self.doubt = self.doubt.tried(now, is_alone=is_alone)

    def lets_go(self, now: float, job_id: int, fence: int) -> bool:
        """Whether a job that was claimed may still be sent: something may have come between."""
        is_closed = self.breaker.state is not BreakerState.CLOSED or self.doubt is not None
        if is_closed and self.probe != (job_id, fence):
            return False
        return self.block is None and now >= self.throttled_until

    def waits(self, now: float, *, share: int) -> tuple[WaitReason, float | None]:
        """What its jobs wait for, and until when where time decides."""
        until = self.wakes_at(now, share=share)
        ends_at = until if now < until < inf else None
        if self.block is not None:
            is_unasked = self.block is Block.HEALTH and not self.why
            return WaitReason.HEALTH if is_unasked else _BLOCKED_FOR[self.block], ends_at
        if self.doubt is not None:
            return WaitReason.REFUSED, ends_at
        if self.breaker.state is BreakerState.OPEN:
            is_away = self.breaker.away_since is not None
            return WaitReason.OUTAGE if is_away else WaitReason.ERRORS, ends_at
        if now < self.throttled_until:
            why = WaitReason.HELD if self.is_told_when else WaitReason.THROTTLED
            return why, max(ends_at or 0.0, self.throttled_until)
        if until <= now:
            return WaitReason.QUEUED, None
        if self.next_at <= now:
            return WaitReason.PACE if self.pace.admits() == 0 else WaitReason.QUEUED, ends_at
        if self.waits_for is WaitReason.RATE and self.pace.rate_per_min(now) is not None:
            return WaitReason.PACE, ends_at
        if self.waits_for is WaitReason.HELD and not self.is_told_when:
            return WaitReason.THROTTLED, ends_at
        return self.waits_for, ends_at

    def blame(self, job_id: int, error: JobError) -> Blame:
        """Whom a failure of a job is put down to."""
        if self.breaker.away_since is not None:
            return Blame.OUTAGE
        if job_id not in self.suspects:
            return Blame.UNKNOWN
        if self.is_to_blame(job_id):
            return Blame.JOB
        return Blame.OUTAGE if is_away(error) else Blame.UNKNOWN

    def is_to_blame(self, job_id: int) -> bool:
        """Whether a job is put down to itself if it now finds the service away once more."""
        is_away = self.breaker.away_since is not None
        return not is_away and self.suspects.get(job_id, self.answers) < self.answers

    def answered(self, now: float) -> None:
        """The service has answered: it is there."""
        self.answers += 1
        self.answered_at = now

    def heard(self, now: float) -> None:
        """A call within a job was answered: the service has been there, which is no answer yet."""
        if self.answered_at is None:
            self.answered_at = now

    def throttle(self, now: float, until: float, *, is_told_when: bool) -> None:
        """A 429 came in: the next one will hold the lane for longer."""
        self.is_told_when = is_told_when
        if now >= self.throttled_until:
            self.throttled += 1
        self.throttled_until = max(until, self.throttled_until)

    def offer(self, cost_class: str, due_at: float) -> None:
        """A job of a class became claimable at a time."""
        if cost_class not in self.classes:
            self.classes = tuple(sorted({*self.classes, cost_class}))
        if self.next_at > due_at:
            self.next_at, self.waits_for = due_at, WaitReason.RETRY


@dataclass(slots=True)
class Lanes:
    """All lanes of a run, and the limits that they share."""

    limits: Limits
    retry: Retry
    lanes: dict[str, Lane] = field(default_factory=dict)
    peers: int = 0
    """Other processes that have jobs of the run in flight, as of the last look.

    The slots are shared evenly between them and this one, each having one at least: nobody starves, and
    nobody waits for what a stopped process holds. For the second until all have looked, there may be more.
    """
    still: int = 0
    """Those of them that stand still, such as one that was stopped: their slots are used by the others."""
    turn: int = 0
    paused_until: float = 0.0
    """Until when nothing is started because this machine ran short of something."""
    paused_why: str = ""
    faults: int = 0
    """How often in a row this machine could not do what a request needed; those of one pause count once."""
    faulty_since: float = 0.0

    def lane(self, name: str) -> Lane:
        """The lane of a name, made when it is first met."""
        if name not in self.lanes:
            ceiling = self.limits.for_lane(name).max_in_flight or self.limits.max_in_flight
            self.lanes[name] = Lane(
                name=name,
                concurrency=Concurrency.at(ceiling),
                breaker=Breaker(
                    attempts=self.retry.attempts,
                    base_delay_s=self.retry.base_delay_s,
                    max_delay_s=self.retry.max_delay_s,
                ),
            )
        return self.lanes[name]

    def refresh(self, queues: Mapping[str, tuple[str, ...]]) -> None:
        """Take over what the store says of the jobs that can be claimed."""
        for name, classes in queues.items():
            lane = self.lane(name)
            if set(classes) - set(lane.classes):
                lane.next_at = 0.0
            # Only a claim that finds a class empty takes it away: one that was offered while this was
            # being read is not in it.
            lane.classes = tuple(sorted({*lane.classes, *classes}))

    @property
    def in_flight(self) -> int:
        """Jobs in flight in this process."""
        return sum(lane.in_flight for lane in self.lanes.values())

    def wants(self, now: float, freed: Mapping[str, int] | None = None) -> Mapping[str, int]:
        """How many jobs to claim in each lane: the free slots, shared fairly.

        `freed` are slots that are about to be free, lane by lane.
        """
        freed = freed or {}
        free = self._free() + sum(freed.values())
        if free <= 0 or now < self.paused_until or opens_at(self.limits.window, now) > now:
            return {}
        demands = []
        # Who was served longest ago is first: under a rate that lanes share, there is one slot at a time.
        for lane in sorted(self.lanes.values(), key=_served):
            lane.pace = lane.pace.at(now)
            ending = freed.get(lane.name, 0)
            if lane.wakes_at(now, share=self.share, freed=ending) <= now:
                in_flight = lane.in_flight - ending
                capacity = in_flight + lane.capacity(now, share=self.share, freed=ending)
                demands.append(
                    LaneDemand(
                        name=lane.name, in_flight=in_flight, capacity=capacity, ready=_PLENTY
                    )
                )
        return allot(free, demands)

    def state(self, lane: Lane, now: float) -> LaneState:
        """What the jobs of a lane wait for."""
        why, until = lane.waits(now, share=self.share)
        detail = lane.why if why in STANDS_STILL else ""
        if self.paused_until > now:
            why, until, detail = WaitReason.MACHINE, self.paused_until, self.paused_why
        return LaneState(
            name=lane.name,
            why=why,
            until=until,
            detail=detail,
            breaker=lane.breaker.state,
            in_flight=lane.in_flight,
        )

    def wakes_at(self, now: float) -> float:
        """When something may be started, as far as time alone decides."""
        if self._free() <= 0:
            return inf
        soonest = min(
            (lane.wakes_at(now, share=self.share) for lane in self.lanes.values()), default=inf
        )
        return max(soonest, self.paused_until, opens_at(self.limits.window, now))

    def patience_s(self, lane: Lane) -> float:
        """For how long a lane's service is waited for that is away; 0 for as many probes as jobs have attempts.

        A lane that was never answered waits for a few minutes only (its address may be wrong), except
        while all that is known is that the whole service is away.
        """
        outage_s = self.retry.outage_s
        if lane.answered_at is not None:
            return outage_s
        since = lane.breaker.since
        answered = [one.answered_at for one in self.lanes.values() if one.answered_at is not None]
        was_there = bool(answered) and since is not None and max(answered) < since
        return outage_s if was_there else min(outage_s, UNMET_S)

    def is_alone(self, lane: Lane) -> bool:
        """Whether nothing is in flight, here or elsewhere, that may hold quota beside a lane's own request.

        What other lanes try that were refused as well holds nothing, unless it is let through.
        """
        others = (one for one in self.lanes.values() if one is not lane)
        return (
            not self.peers
            and lane.in_flight <= 1
            and not any(
                one.in_flight and (one.doubt is None or one.in_flight > 1) for one in others
            )
        )

    def pause(self, now: float, why: str) -> bool:
        """Start nothing for a while, because this machine ran short; whether that is new."""
        if now < self.paused_until:
            return False
        if not self.faults:
            self.faulty_since = now
        is_new = why != self.paused_why
        self.paused_until = now + min(_PAUSE_MAX_S, 2.0**self.faults)
        self.faults = min(self.faults + 1, 32)
        self.paused_why = why
        return is_new

    @property
    def share(self) -> int:
        """Between how many processes the slots are shared."""
        return 1 + self.peers - self.still

    def _free(self) -> int:
        slots = _shared(self.limits.max_in_flight, self.share)
        return max(1, slots >> self.faults) - self.in_flight

    def serve(self, lane: Lane) -> None:
        """A lane got jobs: others come before it now."""
        self.turn += 1
        lane.served = self.turn

    def retry_refused(self) -> None:
        """An answer came in: lanes that waited for quota, or for a class's cost, may ask again."""
        for lane in self.lanes.values():
            if lane.next_at == inf or lane.waits_for is WaitReason.UNTOLD:
                lane.next_at = 0.0

    @property
    def waiting(self) -> Iterable[Lane]:
        """Lanes that have jobs to be claimed."""
        return [lane for lane in self.lanes.values() if lane.classes]


_served = attrgetter("served")

_BLOCKED_FOR = {
    Block.QUOTA: WaitReason.QUOTA,
    Block.CREDIT: WaitReason.CREDIT,
    Block.HEALTH: WaitReason.UNHEALTHY,
    Block.SICK: WaitReason.UNHEALTHY,
    Block.PARKED: WaitReason.GIVEN_UP,
}


def _shared(slots: int, share: int) -> int:
    return max(1, slots // share)


def bucket_of(account: str, lane: str) -> str:
    """The name of the rate row of one lane, which also carries a Retry-After."""
    return f"{account} {lane}"


def opens_at(window: Window | None, now: float) -> float:
    """When requests may start: now inside the window, else at its next opening."""
    if window is None:
        return now
    local = datetime.fromtimestamp(now, ZoneInfo(window.timezone))
    if window.contains(local.hour * 60 + local.minute + local.second / 60):
        return now
    opening = local.replace(
        hour=window.start_min // 60, minute=window.start_min % 60, second=0, microsecond=0
    )
    if opening <= local:
        opening += timedelta(days=1)
    return opening.timestamp()


def closes_at(window: Window | None, now: float) -> float:
    """When requests may start no longer: the next end of the window, which is never without one."""
    if window is None:
        return inf
    local = datetime.fromtimestamp(now, ZoneInfo(window.timezone))
    end = local.replace(
        hour=window.end_min // 60, minute=window.end_min % 60, second=0, microsecond=0
    )
    if end <= local:
        end += timedelta(days=1)
    return end.timestamp()


def finishes_at(window: Window | None, now: float, work_s: float) -> float | None:
    """When work of so many seconds is done that begins now and goes on in the window alone.

    None for what lies so far ahead that no calendar has it.
    """
    if work_s > _CALENDAR_S:
        return None
    at = opens_at(window, now)
    while (open_s := closes_at(window, at) - at) < work_s:
        work_s -= open_s
        at = opens_at(window, at + open_s)
        if at - now > _CALENDAR_S:
            return None
    return at + work_s


def month(now: float) -> str:
    """The quota period that a time falls into, such as `2026-11` (UTC)."""
    return _month_of_hour(int(now // 3600))


@lru_cache(maxsize=8)
def _month_of_hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m")


def month_began(now: float) -> float:
    """When the quota period of a time began (UTC)."""
    today = datetime.fromtimestamp(now, UTC)
    return today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def next_month(now: float) -> float:
    """When the next quota period begins (UTC)."""
    return month_began(month_began(now) + 32 * 24 * 3600)
