"""One lane as this process sees it: what it waits for, and what it learns from each attempt.

Other modules read its fields and call its methods; none assigns to a field.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import TypeAlias

from engine.core.breaker import Breaker
from engine.core.circuit import Change, Circuit, Sent
from engine.core.concurrency import Concurrency, fair_share
from engine.core.doubt import Doubt
from engine.core.pace import Pace
from engine.core.retry import Hold
from engine.core.runs import EventKind, WaitReason
from engine.core.settlement import Feedback
from engine.scheduler.reasons import describe_end_of_outage, describe_hold, describe_outage
from engine.store import Claimed, LaneGrant

Noted: TypeAlias = tuple[EventKind, str]
"""A line of the event log: its kind and what it says."""

_NOTED_S = 5.0
"""A wait that the service asks for and that is shorter is not noted: there may be thousands in a night."""


class Block(StrEnum):
    """What stops a lane until something other than time changes."""

    QUOTA = "quota"
    CREDIT = "credit"
    """The account is empty: given up for this session."""
    HEALTH = "health"
    """The health of its model is being checked, or was found wanting."""
    SICK = "sick"
    """Its model stayed unhealthy: given up, unless it recovers while other lanes go on."""
    PARKED = "parked"
    """The same error over and over, or a service that stayed away: given up for this session."""


@dataclass(slots=True)
class Lane:
    """One lane as this process sees it. Times are seconds since the epoch."""

    name: str
    concurrency: Concurrency
    circuit: Circuit
    """Whether its service is there and accepts requests."""
    classes: tuple[str, ...] = ()
    """The cost classes that may hold jobs to be claimed."""
    in_flight: int = 0
    served: int = 0
    """The number of the turn in which it last got jobs."""
    next_at: float = 0.0
    """When to claim again; infinite if only an answer to another job can help."""
    waits_for: WaitReason = WaitReason.QUEUED
    """The reason for that wait."""
    block: Block | None = None
    why: str = ""
    """The message of when it was blocked or its breaker opened, the cause first."""
    throttled: int = 0
    """The number of 429s in a row; those of one hold count once."""
    throttled_until: float = 0.0
    has_retry_after: bool = False
    """Whether the last 429 named the time to ask again."""
    pace: Pace = field(default_factory=Pace)
    """How fast the service lets requests through, once it has refused some."""

    def capacity(self, now: float, *, share: int, freed: int = 0) -> int:
        """Return how many more jobs may be in flight now, with `freed` slots about to be free.

        `share` processes share the lane's slots.
        """
        if self.block is not None:
            return 0
        allowed = fair_share(self.concurrency.capacity(now), share) - self.in_flight + freed
        for admitted in (self.circuit.admits(now), self.pace.admits()):
            allowed = allowed if admitted is None else min(admitted, allowed)
        return max(0, allowed)

    def wakes_at(self, now: float, *, share: int, freed: int = 0) -> float:
        """Return when the lane may start a job; infinite if time alone does not decide.

        A time that is not after `now` means at once. `share` and `freed` are those of `capacity`.
        """
        if not self.classes or self.block is not None:
            return inf
        soonest = max(self.next_at, self.circuit.admits_at)
        if self.pace.admits() == 0:
            soonest = max(soonest, self.pace.admits_at)
        taken = self.in_flight - freed
        # One slot is always allowed.
        if taken > 0 and fair_share(self.concurrency.capacity(now), share) <= taken:
            return max(soonest, self.concurrency.allows_at(share * (taken + 1)))
        return soonest

    def take(self, grant: LaneGrant) -> None:
        """Apply what a claim found in the lane's queue: empty classes, and when and why to claim again.

        It does not count the jobs that were granted; `start` does, one by one.
        """
        self.classes = tuple(name for name in self.classes if name not in grant.empty_classes)
        self.next_at = 0.0 if grant.next_at is None else grant.next_at
        self.waits_for = grant.why

    def start(self, now: float, claimed: Claimed, *, are_others_idle: bool) -> None:
        """Count a claimed job as in flight; if only one may be sent, as a probe, it is that one.

        A job that was claimed just before its lane was closed is no probe and will be given back.
        """
        self.in_flight += 1
        job_id, fence = claimed.id, claimed.fence
        is_alone = are_others_idle and self.in_flight <= 1
        self.circuit = self.circuit.on_start(now, job_id, fence, is_alone=is_alone)
        if self.lets_go(max(now, claimed.start_at), job_id, fence):
            self.pace = self.pace.on_start(now, 1)

    def end(self) -> None:
        """Count a job that is settled as no longer in flight."""
        self.in_flight -= 1

    def lets_go(self, now: float, job_id: int, fence: int) -> bool:
        """Whether a claimed job may still be sent: the lane may have been closed or held since.

        While its breaker is open, or a refusal is in doubt, only the probe may.
        """
        is_let_through = self.circuit.lets_through(job_id, fence)
        return is_let_through and self.block is None and now >= self.throttled_until

    def waits(self, now: float, *, share: int) -> tuple[WaitReason, float | None]:
        """Return what its jobs wait for, and until when if time decides, else None.

        A closed lane is named before an outage or a refusal, that before a hold of the service, and rate, pace
        and quota come last.
        """
        until = self.wakes_at(now, share=share)
        ends_at = until if now < until < inf else None
        if self.block is not None:
            is_unasked = self.block is Block.HEALTH and not self.why
            return WaitReason.HEALTH if is_unasked else _BLOCKED_FOR[self.block], ends_at
        if (reason := self.circuit.waits_for) is not None:
            return reason, ends_at
        if now < self.throttled_until:
            why = WaitReason.HELD if self.has_retry_after else WaitReason.THROTTLED
            return why, max(ends_at or 0.0, self.throttled_until)
        if until <= now:
            return WaitReason.QUEUED, None
        if self.next_at <= now:
            return WaitReason.PACE if self.pace.admits() == 0 else WaitReason.QUEUED, ends_at
        if self.waits_for is WaitReason.RATE and self.pace.rate_per_min(now) is not None:
            return WaitReason.PACE, ends_at
        return self.waits_for, ends_at

    def remember_answers(self) -> None:
        """Note that the service answered in an earlier session."""
        self.circuit = self.circuit.on_earlier_answers()

    def note_reply(self, now: float) -> None:
        """Note that a call within a job was answered: the service is there, although the job has not ended."""
        self.circuit = self.circuit.on_reply(now)

    def throttle(self, now: float, until: float, *, has_retry_after: bool) -> bool:
        """Hold the lane after a refusal as too many requests; the next one will hold it for longer.

        Return whether this began the hold: requests that were in flight are refused in the same one.
        """
        self.has_retry_after = has_retry_after
        is_new = now >= self.throttled_until
        self.throttled += is_new
        self.throttled_until = max(until, self.throttled_until)
        return is_new

    def offer(self, cost_class: str, due_at: float) -> None:
        """Note that a job of a cost class can be claimed from `due_at` on, such as one that is tried again.

        It brings the next claim of the lane forward to that time, and never puts it off.
        """
        if cost_class not in self.classes:
            self.classes = tuple(sorted({*self.classes, cost_class}))
        if self.next_at > due_at:
            self.next_at, self.waits_for = due_at, WaitReason.RETRY

    # The queue

    def refresh(self, classes: tuple[str, ...]) -> None:
        """Add the cost classes in which the store has jobs to be claimed; a new one is claimed at once.

        Classes that are missing from `classes` stay: only a claim that finds them empty removes them.
        """
        if set(classes) - set(self.classes):
            self.next_at = 0.0
        # Only a claim that finds a class empty removes it: a class that was offered while the store was
        # read is missing here.
        self.classes = tuple(sorted({*self.classes, *classes}))

    def serve(self, turn: int) -> None:
        """Note the turn in which the lane got jobs; the lane with the lowest turn comes first in the next claim."""
        self.served = turn

    def pass_time(self, now: float) -> None:
        """Let the pace recover up to `now`: a faster pace that was not refused in time counts as accepted.

        Call it before `capacity` and `wakes_at`, which do not change the pace.
        """
        self.pace = self.pace.at(now)

    def retry_refused(self) -> None:
        """Claim again after an answer: the quota or the cost of a class may be known now."""
        if self.next_at == inf or self.waits_for is WaitReason.QUOTA_UNKNOWN:
            self.next_at = 0.0

    def wait_for_quota(self, until: float) -> None:
        """Claim again at `until`, although no answer arrives: other processes may have given back some quota.

        Until then the lane's jobs wait for quota; a lane that is closed stays closed.
        """
        self.next_at, self.waits_for = until, WaitReason.QUOTA

    def reopen(self) -> None:
        """Claim again: there may be quota."""
        self.block = None if self.block is Block.QUOTA else self.block
        self.next_at = 0.0

    # What holds it up

    def close(self, block: Block, why: str) -> None:
        """Send nothing until something other than time changes; `why` is shown as the reason.

        Jobs in flight go on; those that are claimed and not yet sent are given back (`lets_go`).
        """
        self.block, self.why = block, why

    def explain(self, why: str) -> None:
        """Set the reason why it is closed, such as the latest answer of a health gate."""
        self.why = why

    def open(self) -> None:
        """Send again: the model is healthy."""
        self.block, self.why = None, ""

    def settle_doubt(self, doubt: Doubt, block: Block, why: str) -> bool:
        """Close the lane for a confirmed refusal, with `why` as the reason; return whether it was closed.

        False if a late answer has ended the doubt meanwhile: the lane then stays as it is.
        """
        if self.circuit.doubt is not doubt:
            return False
        self.circuit = self.circuit.end_doubt()
        self.close(block, why)
        return True

    def doubt_again(self, doubt: Doubt, until: float) -> None:
        """Let another request try, not before `until`: the refusal is not confirmed.

        Does nothing if a late answer has ended this doubt meanwhile.
        """
        # A late answer may have ended it meanwhile.
        if self.circuit.doubt is doubt:
            self.circuit = self.circuit.try_again(until)

    def hasten(self, now: float) -> None:
        """Let the next request try at once: nothing that could hold quota is in flight.

        It changes only a lane with a refusal that is in doubt.
        """
        self.circuit = self.circuit.hasten(now)

    # What it learns

    def apply(
        self,
        feedback: Feedback,
        now: float,
        *,
        of: Sent,
        patience_s: float,
        is_gated: bool,
        sends_jobs: bool,
    ) -> list[Noted]:
        """Learn from the end of an attempt; return lines for the event log.

        Called before the outcome is committed, since the same transaction may fill the slot again.
        `patience_s` is how many seconds the service may be away; `is_gated` says whether a health gate can
        be asked about the model; `sends_jobs`, whether a job is one request: only then does the pace of
        jobs say anything about the pace of requests.
        """
        before = self.circuit
        self.circuit, changes = before.on_end(
            feedback, now, of=of, patience_s=patience_s, is_blocked=self.block is not None
        )
        notes = self._learn_hold(feedback, is_gated=is_gated)
        for change in changes:
            notes += self._follow_refusal(change, feedback.error)
            notes += self._follow_failure(change, feedback.error, is_gated=is_gated)
            notes += self._follow_outage(change, feedback.error, now, before.breaker, patience_s)
        notes += self._learn_speed(feedback, now, of=of, sends_jobs=sends_jobs)
        return notes

    def _learn_hold(self, feedback: Feedback, *, is_gated: bool) -> list[Noted]:
        """Close the lane for what its service or its gate is short of; return lines for the event log."""
        match feedback.hold:
            case Hold.QUOTA if self.block is None and not feedback.is_doubtful:
                self.close(Block.QUOTA, feedback.error)
                return [(EventKind.QUOTA, feedback.error)]
            case Hold.HEALTH if is_gated:
                self.close(Block.HEALTH, feedback.error)
            case _:
                pass
        return []

    def _follow_refusal(self, change: Change, error: str) -> list[Noted]:
        match change:
            case Change.DOUBTED:
                self.why = error
            case Change.REFUSED:
                return [(EventKind.REFUSED, self.why)]
            case Change.ACCEPTED:
                return [(EventKind.ANSWERED, "let through again")]
            case _:
                pass
        return []

    def _follow_failure(self, change: Change, error: str, *, is_gated: bool) -> list[Noted]:
        match change:
            case Change.TRIPPED:
                self.why = error
                if is_gated:
                    self.block = Block.HEALTH
                failures = self.circuit.breaker.failures
                return [(EventKind.BREAKER, f"{error}; {failures} times in a row")]
            case Change.SPENT:
                self.close(Block.PARKED, error)
                return [(EventKind.PARKED, f"{error}; given up for this session")]
            case _:
                return []

    def _follow_outage(
        self, change: Change, error: str, now: float, before: Breaker, patience_s: float
    ) -> list[Noted]:
        after, was_answered = self.circuit.breaker, self.circuit.answered_at is not None
        match change:
            case Change.AWAY:
                self.why = describe_outage(error, after, patience_s, was_answered=was_answered)
                # A single request that did not get through is not noted; the first failed probe is.
                if after.probes == 1 and before.probes == 0:
                    return [(EventKind.OUTAGE, self.why)]
            case Change.GIVEN_UP:
                why = describe_end_of_outage(error, after, now, was_answered=was_answered)
                self.close(Block.PARKED, why)
                return [(EventKind.PARKED, why)]
            case Change.BACK:
                self.block = None if self.block is Block.PARKED else self.block
                if before.probes and before.away_since is not None:
                    away_s = now - before.away_since
                    return [(EventKind.BACK, f"answered again, after {away_s:,.0f} s")]
            case _:
                pass
        return []

    def _learn_speed(
        self, feedback: Feedback, now: float, *, of: Sent, sends_jobs: bool
    ) -> list[Noted]:
        """Learn how many jobs may be in flight and at what pace, and wait if the service asked for it.

        Return lines for the event log.
        """
        is_held = False
        if feedback.has_succeeded:
            self.throttled = 0
            self.concurrency = self.concurrency.on_success(now)
        elif feedback.is_overload:
            self.concurrency = self.concurrency.on_overload(
                now, in_flight=self.in_flight, latency_s=now - of.started_at
            )
        if feedback.held_s:
            is_new = self.throttle(
                now, now + feedback.held_s, has_retry_after=feedback.has_retry_after
            )
            is_held = is_new and feedback.has_retry_after and feedback.held_s >= _NOTED_S
        if sends_jobs and feedback.held_s:
            self.pace = self.pace.on_refusal(now, started=of.started_at)
        elif feedback.is_answer:
            self.pace = self.pace.on_answer(now, started=of.started_at)
        if not is_held:
            return []
        return [(EventKind.HELD, describe_hold(feedback.error, self.throttled_until))]


_BLOCKED_FOR = {
    Block.QUOTA: WaitReason.QUOTA,
    Block.CREDIT: WaitReason.CREDIT,
    Block.HEALTH: WaitReason.UNHEALTHY,
    Block.SICK: WaitReason.UNHEALTHY,
    Block.PARKED: WaitReason.GIVEN_UP,
}
