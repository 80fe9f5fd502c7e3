"""Admission: what may be started now, lane by lane.

The store keeps the rates and quotas, which all processes share; here is what one process knows of its
lanes: how many jobs are in flight, how many may be, what a lane waits for.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter

from engine.core.breaker import Breaker
from engine.core.circuit import Circuit
from engine.core.concurrency import Concurrency, LaneDemand, allot, fair_share
from engine.core.lanes import STANDS_STILL, LaneState
from engine.core.policy import Limits, Retry
from engine.core.runs import WaitReason
from engine.limits import opens_at
from engine.scheduler.lane import Lane
from engine.store import Claimed, Outcome

_PLENTY = 1_000_000
UNMET_S = 600.0
"""How long to wait for a service that has never answered: long enough to load a model."""
_PAUSE_MAX_S = 60.0
_served = attrgetter("served")


@dataclass(slots=True)
class Lanes:
    """All lanes of a run, and the limits that they share."""

    limits: Limits
    retry: Retry
    lanes: dict[str, Lane] = field(default_factory=dict)
    peers: int = 0
    """Other processes that have jobs of the run in flight, as of the last look.

    The slots are shared evenly with them, at least one each, so no process starves or waits for slots
    that a stopped process holds. Until all have looked, within a second, more may be in flight.
    """
    slots: int | None = None
    """The most jobs in flight in this process, whatever its share; None for no such limit."""
    still: int = 0
    """Those of `peers` that are stopped or hang: the others use their slots."""
    turn: int = 0
    paused_until: float = 0.0
    """Nothing is started before this time because this machine ran short of something."""
    paused_why: str = ""
    faults: int = 0
    """Times in a row that this machine could not do what a request needed; those of one pause count once."""
    faulty_since: float = 0.0
    jobs: dict[tuple[int, int], Lane] = field(default_factory=dict)
    """The lanes of the jobs in flight, by job and fence.

    A job that is due again at once may be claimed by the transaction that settles its last attempt, and is
    then in flight twice for a moment.
    """

    def lane(self, name: str) -> Lane:
        """Return the lane of a name; it is made on first use, with the sweep's limits for its model.

        A new lane is open and has no classes: nothing is claimed in it before `refresh` or `offer`.
        """
        if name not in self.lanes:
            ceiling = self.limits.for_lane(name).max_in_flight or self.limits.max_in_flight
            self.lanes[name] = Lane(
                name=name,
                concurrency=Concurrency.at(ceiling),
                circuit=Circuit(
                    breaker=Breaker(
                        attempts=self.retry.attempts,
                        base_delay_s=self.retry.base_delay_s,
                        max_delay_s=self.retry.max_delay_s,
                    )
                ),
            )
        return self.lanes[name]

    def refresh(self, queues: Mapping[str, tuple[str, ...]]) -> None:
        """Add the lanes and cost classes in which the store has jobs to be claimed; none is removed.

        `queues` has the classes by the name of the lane. Lanes with a new class are claimed at once.
        """
        for name, classes in queues.items():
            self.lane(name).refresh(classes)

    @property
    def in_flight(self) -> int:
        """Jobs in flight in this process."""
        return len(self.jobs)

    @property
    def jobs_in_flight(self) -> Collection[int]:
        """The jobs that are in flight in this process."""
        return {job_id for job_id, _ in self.jobs}

    def start(self, lane: Lane, claimed: Claimed, now: float) -> None:
        """Count a claimed job as in flight in its lane, and remember that lane by the job and its fence, until `end`."""
        lane.start(now, claimed, are_others_idle=self.are_others_idle(lane))
        self.jobs[claimed.id, claimed.fence] = lane

    def end(self, claimed: Claimed) -> None:
        """Count a job that is settled, or whose settlement failed, as no longer in flight.

        Raises KeyError if it was not counted, or was counted with another fence.
        """
        self.jobs.pop((claimed.id, claimed.fence)).end()

    def count_freed(self, settled: Iterable[Outcome]) -> Mapping[str, int]:
        """Return how many slots outcomes that are about to be committed will free, by the name of the lane.

        Outcomes of jobs that are not in flight here are not counted; no job is ended.
        """
        freed: dict[str, int] = {}
        for one in settled:
            if (lane := self.jobs.get((one.job_id, one.fence))) is not None:
                freed[lane.name] = freed.get(lane.name, 0) + 1
        return freed

    def pass_time(self, now: float) -> None:
        """Let the pace of each lane recover up to `now`."""
        for lane in self.lanes.values():
            lane.pass_time(now)

    def wants(self, now: float, freed: Mapping[str, int] | None = None) -> Mapping[str, int]:
        """Return how many jobs to claim in each lane: the free slots, shared fairly.

        `freed` are slots that are about to be free, lane by lane. Lanes that cannot send at `now` are left
        out, and all are while the run is paused, its window is closed, or no slot is free. Under a rate
        that lanes share, the one that got jobs longest ago comes first. Lets the pace of each lane recover
        up to `now`.
        """
        freed = freed or {}
        free = self._free() + sum(freed.values())
        if free <= 0 or now < self.paused_until or opens_at(self.limits.window, now) > now:
            return {}
        self.pass_time(now)
        demands = []
        # Lanes take turns: under a rate that they share, there is one slot at a time.
        for lane in sorted(self.lanes.values(), key=_served):
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
        """Return what the jobs of a lane wait for, as it is shown to users and other processes.

        A closed window is named before a machine that ran short, and that before the lane's own reason.
        """
        why, until = lane.waits(now, share=self.share)
        detail = lane.why if why in STANDS_STILL else ""
        if self.paused_until > now:
            why, until, detail = WaitReason.MACHINE, self.paused_until, self.paused_why
        if (opening := opens_at(self.limits.window, now)) > now:
            why, until, detail = WaitReason.WINDOW, opening, ""
        return LaneState(
            name=lane.name,
            why=why,
            until=until,
            detail=detail,
            breaker=lane.circuit.breaker.state,
            in_flight=lane.in_flight,
        )

    def wakes_at(self, now: float) -> float:
        """Return when any lane may start a job, within the window and the pauses of this machine.

        If it is not after `now`, `wants` has jobs to claim. Infinite if time alone does not decide, as while every
        slot is taken.
        """
        if self._free() <= 0:
            return inf
        soonest, share = inf, self.share
        for lane in self.lanes.values():
            soonest = min(soonest, lane.wakes_at(now, share=share))
        return max(soonest, self.paused_until, opens_at(self.limits.window, now))

    def patience_s(self, lane: Lane) -> float:
        """Return how many seconds to wait for a lane's service that is away; 0 for as many probes as attempts.

        A lane that was never answered waits for a few minutes only (its address may be wrong), except
        while all that is known is that the whole service is away.
        """
        outage_s = self.retry.outage_s
        if lane.circuit.answered_at is not None:
            return outage_s
        since = lane.circuit.breaker.since
        times = [one.circuit.answered_at for one in self.lanes.values()]
        answered = [at for at in times if at is not None]
        was_there = bool(answered) and since is not None and max(answered) < since
        return outage_s if was_there else min(outage_s, UNMET_S)

    def are_others_idle(self, lane: Lane) -> bool:
        """Whether no job of other lanes or processes is in flight that may hold quota.

        What other lanes try that were refused as well holds nothing, unless it is let through.
        """
        others = (one for one in self.lanes.values() if one is not lane)
        return not self.peers and not any(
            one.in_flight and (one.circuit.doubt is None or one.in_flight > 1) for one in others
        )

    def pause(self, now: float, why: str) -> bool:
        """Start nothing for a while because this machine ran short; return whether the reason is new.

        The pause is 1 s long after the first fault and twice as long after each further one, up to a
        maximum. A fault during a pause changes nothing and returns False.
        """
        if now < self.paused_until:
            return False
        if not self.faults:
            self.faulty_since = now
        is_new = why != self.paused_why
        self.paused_until = now + min(_PAUSE_MAX_S, 2.0**self.faults)
        self.faults = min(self.faults + 1, 32)
        self.paused_why = why
        return is_new

    def recover(self) -> None:
        """Note that this machine could do what a request needed."""
        self.faults = 0

    @property
    def share(self) -> int:
        """The number of processes that share the slots."""
        return 1 + self.peers - self.still

    def _free(self) -> int:
        slots = fair_share(self.limits.max_in_flight, self.share)
        if self.slots is not None:
            slots = min(slots, self.slots)
        return max(1, slots >> self.faults) - self.in_flight

    def serve(self, lane: Lane) -> None:
        """Let other lanes come before one that has got jobs, so that they take turns under a shared rate."""
        self.turn += 1
        lane.serve(self.turn)

    def retry_refused(self) -> None:
        """Let lanes that wait for quota, or for the cost of a class, claim again after an answer."""
        for lane in self.lanes.values():
            lane.retry_refused()

    @property
    def waiting(self) -> Iterable[Lane]:
        """Lanes that have jobs to be claimed."""
        return [lane for lane in self.lanes.values() if lane.classes]
