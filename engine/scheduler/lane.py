"""One lane as this process sees it: what it waits for, and what it learns from each attempt.

Other modules read its fields and call its methods; none assigns to a field.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from engine.core.breaker import Breaker, BreakerState
from engine.core.concurrency import Concurrency
from engine.core.doubt import Doubt
from engine.core.errors import JobError
from engine.core.pace import Pace
from engine.core.retry import Blame, Hold, is_away
from engine.core.runs import EventKind, WaitReason
from engine.core.settlement import Feedback, Signal
from engine.scheduler.feedback import (
    Noted,
    Sent,
    describe_end_of_outage,
    describe_hold,
    describe_outage,
)
from engine.store import Claimed, LaneGrant

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
    breaker: Breaker
    doubt: Doubt | None = None
    """A refusal that is being confirmed."""
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
    is_told_when: bool = False
    """Whether the last 429 said when to ask again."""
    answers: int = 0
    """Answers of the service in this process, including errors that only the service can send."""
    answered_at: float | None = None
    """When the service last answered in this run; None if it never has."""
    worked_at: float = -inf
    """When a job last got an answer: the failure of a request that began before says nothing about now."""
    probe: tuple[int, int] | None = None
    """Job and fence of the request that finds out whether the service is back, or still refuses."""
    suspects: dict[int, int] = field(default_factory=dict)
    """Unfinished jobs that found the service away, with the value of `answers` at the first time."""
    pace: Pace = field(default_factory=Pace)
    """How fast the service lets requests through, once it has refused some."""

    def capacity(self, now: float, *, share: int, freed: int = 0) -> int:
        """Return how many more jobs may be in flight now, with `freed` slots about to be free.

        `share` processes share the lane's slots.
        """
        if self.block is not None:
            return 0
        allowed = fair_share(self.concurrency.capacity(now), share) - self.in_flight + freed
        doubted = None if self.doubt is None else self.doubt.admits(now)
        for admitted in (self.breaker.admits(now), self.pace.admits(), doubted):
            allowed = allowed if admitted is None else min(admitted, allowed)
        return max(0, allowed)

    def wakes_at(self, now: float, *, share: int, freed: int = 0) -> float:
        """Return when the lane may start a job; infinite if time alone does not decide."""
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
        if fair_share(self.concurrency.capacity(now), share) <= taken:
            return max(soonest, self.concurrency.allows_at(share * (taken + 1)))
        return soonest

    def take(self, grant: LaneGrant) -> None:
        """Apply what a claim found in the lane's queue."""
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
        admitted = {self.breaker.admits(now)}
        admitted |= {None if self.doubt is None else self.doubt.admits(now)}
        if 1 in admitted and 0 not in admitted:
            self.probe = job_id, fence
            self.breaker = self.breaker.on_start()
            if self.doubt is not None:
                self.doubt = self.doubt.on_try(now, is_alone=is_alone)
        if self.lets_go(max(now, claimed.start_at), job_id, fence):
            self.pace = self.pace.on_start(now, 1)

    def end(self) -> None:
        """Count a job that is settled as no longer in flight."""
        self.in_flight -= 1

    def lets_go(self, now: float, job_id: int, fence: int) -> bool:
        """Whether a claimed job may still be sent: the lane may have been closed since."""
        is_closed = self.breaker.state is not BreakerState.CLOSED or self.doubt is not None
        if is_closed and self.probe != (job_id, fence):
            return False
        return self.block is None and now >= self.throttled_until

    def waits(self, now: float, *, share: int) -> tuple[WaitReason, float | None]:
        """Return what its jobs wait for, and until when if time decides."""
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
        return self.waits_for, ends_at

    def blame(self, job_id: int, error: JobError) -> Blame:
        """Return what a failure of a job is put down to."""
        if self.breaker.away_since is not None:
            return Blame.OUTAGE
        if job_id not in self.suspects:
            return Blame.UNKNOWN
        if self.is_to_blame(job_id):
            return Blame.JOB
        return Blame.OUTAGE if is_away(error) else Blame.UNKNOWN

    def is_to_blame(self, job_id: int) -> bool:
        """Whether it would be the job's fault if it found the service away once more."""
        is_away = self.breaker.away_since is not None
        return not is_away and self.suspects.get(job_id, self.answers) < self.answers

    def remember_answers(self) -> None:
        """Note that the service answered in an earlier session."""
        self.answered_at = 0.0

    def note_reply(self, now: float) -> None:
        """Note that a call within a job was answered: the service is there, although the job has no answer yet."""
        if self.answered_at is None:
            self.answered_at = now

    def throttle(self, now: float, until: float, *, is_told_when: bool) -> bool:
        """Hold the lane after a refusal as too many requests; the next one will hold it for longer.

        Return whether this began the hold: requests that were in flight are refused in the same one.
        """
        self.is_told_when = is_told_when
        is_new = now >= self.throttled_until
        self.throttled += is_new
        self.throttled_until = max(until, self.throttled_until)
        return is_new

    def offer(self, cost_class: str, due_at: float) -> None:
        """Note that a job of a cost class can be claimed from a time on."""
        if cost_class not in self.classes:
            self.classes = tuple(sorted({*self.classes, cost_class}))
        if self.next_at > due_at:
            self.next_at, self.waits_for = due_at, WaitReason.RETRY

    # The queue

    def refresh(self, classes: tuple[str, ...]) -> None:
        """Add the cost classes in which the store has jobs to be claimed."""
        if set(classes) - set(self.classes):
            self.next_at = 0.0
        # Only a claim that finds a class empty removes it: a class that was offered while the store was
        # read is missing here.
        self.classes = tuple(sorted({*self.classes, *classes}))

    def serve(self, turn: int) -> None:
        """Note the turn in which the lane got jobs."""
        self.served = turn

    def pass_time(self, now: float) -> None:
        """Let the pace recover with time."""
        self.pace = self.pace.at(now)

    def retry_refused(self) -> None:
        """Claim again after an answer: the quota or the cost of a class may be known now."""
        if self.next_at == inf or self.waits_for is WaitReason.UNTOLD:
            self.next_at = 0.0

    def wait_for_quota(self, until: float) -> None:
        """Claim again at a time: others may have given back some quota."""
        self.next_at, self.waits_for = until, WaitReason.QUOTA

    def reopen(self) -> None:
        """Claim again: there may be quota."""
        self.block = None if self.block is Block.QUOTA else self.block
        self.next_at = 0.0

    # What holds it up

    def close(self, block: Block, why: str) -> None:
        """Send nothing until something other than time changes."""
        self.block, self.why = block, why

    def explain(self, why: str) -> None:
        """Set the reason why it is closed."""
        self.why = why

    def open(self) -> None:
        """Send again: the model is healthy."""
        self.block, self.why = None, ""

    def settle_doubt(self, doubt: Doubt, block: Block, why: str) -> bool:
        """Close the lane for a confirmed refusal; return False if a late answer has ended the doubt."""
        if self.doubt is not doubt:
            return False
        self.doubt = None
        self.close(block, why)
        return True

    def doubt_again(self, doubt: Doubt, until: float) -> None:
        """Let another request try, not before a time: the refusal is not confirmed."""
        # A late answer may have ended it meanwhile.
        if self.doubt is doubt:
            self.doubt = doubt.try_again(until)

    def hasten(self, now: float) -> None:
        """Let the next request try at once: nothing that could hold quota is in flight."""
        if self.doubt is not None:
            self.doubt = self.doubt.hasten(now)

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
        before = self.breaker
        is_probe = self.probe == (of.job_id, of.fence)
        notes = self._learn_refusal(feedback, now, of=of, is_probe=is_probe)
        notes += self._learn_breaker(
            feedback, now, of=of, is_probe=is_probe, patience_s=patience_s, is_gated=is_gated
        )
        notes += self._learn_speed(feedback, now, of=of, sends_jobs=sends_jobs)
        if feedback.has_outcome:
            self.suspects.pop(of.job_id, None)
        if feedback.is_answer:
            self.answers += 1
            self.answered_at = now
        if feedback.has_succeeded or (before.misses and not self.breaker.misses):
            self.worked_at = now
        if before.away_since is not None and self.breaker.away_since is None:
            self.block = None if self.block is Block.PARKED else self.block
            if before.probes:
                notes.append(
                    (EventKind.BACK, f"answered again, after {now - before.away_since:,.0f} s")
                )
        return notes

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
            self._slow_down(now, of)
        if feedback.held_s:
            is_new = self.throttle(now, now + feedback.held_s, is_told_when=feedback.is_told_when)
            is_held = is_new and feedback.is_told_when and feedback.held_s >= _NOTED_S
        if sends_jobs and feedback.held_s:
            self.pace = self.pace.on_refusal(now, started=of.started_at)
        elif feedback.is_answer:
            self.pace = self.pace.on_answer(now, started=of.started_at)
        if not is_held:
            return []
        return [(EventKind.HELD, describe_hold(feedback.error, self.throttled_until))]

    def _slow_down(self, now: float, of: Sent) -> None:
        self.concurrency = self.concurrency.on_overload(
            now, in_flight=self.in_flight, latency_s=now - of.started_at
        )

    def _learn_refusal(
        self, feedback: Feedback, now: float, *, of: Sent, is_probe: bool
    ) -> list[Noted]:
        """Doubt a refusal, or stop doubting it; return lines for the event log.

        A first refusal is not noted: many are singular.
        """
        was = self.doubt is not None and self.doubt.refusals > 1
        if feedback.is_doubtful:
            self._doubt(feedback, now, of=of, is_probe=is_probe)
        elif self.doubt is not None and is_probe:
            is_over = feedback.has_succeeded or (
                self.doubt.hold is Hold.UNAUTHORIZED and feedback.is_refusal_over
            )
            self.doubt = None if is_over else self.doubt.on_inconclusive()
        is_refused = self.doubt is not None and self.doubt.refusals > 1
        if is_refused and not was:
            return [(EventKind.REFUSED, self.why)]
        if was and self.doubt is None:
            return [(EventKind.ANSWERED, "let through again")]
        return []

    def _doubt(self, feedback: Feedback, now: float, *, of: Sent, is_probe: bool) -> None:
        doubt, hold = self.doubt, feedback.hold
        assert hold is not None, "only what is given back was refused so"
        if doubt is not None and doubt.hold is hold:
            self.doubt = doubt.on_refusal(feedback.error, feedback.needs) if is_probe else doubt
        elif is_probe or (doubt is None and self.block is None and of.started_at >= self.worked_at):
            self.why = feedback.error
            self.doubt = Doubt(hold=hold, why=self.why, since=now, needs=feedback.needs)
        if hold is Hold.QUOTA:
            # Jobs in flight may hold the quota that was refused; fewer at once hold less.
            self._slow_down(now, of)

    def _learn_breaker(
        self,
        feedback: Feedback,
        now: float,
        *,
        of: Sent,
        is_probe: bool,
        patience_s: float,
        is_gated: bool,
    ) -> list[Noted]:
        """Apply the end of an attempt to the breaker; return lines for the event log."""
        before = self.breaker
        is_stale = of.started_at < self.worked_at and not is_probe
        match feedback.signal:
            case Signal.WORKS:
                self.breaker = before.on_success()
            case Signal.AWAY:
                # Keep the first time: a job that fails like this again after others were answered is to blame.
                self.suspects.setdefault(of.job_id, self.answers)
                if not is_stale:
                    return self._miss(
                        feedback, now, of=of, is_probe=is_probe, patience_s=patience_s
                    )
            case Signal.NOTHING:
                if is_probe:
                    self.breaker = before.on_inconclusive()
            case Signal.REFUSES:
                self.breaker = before.on_refusal(is_probe=is_probe, sent=feedback.is_sent)
                return self._learn_hold(feedback, is_gated=is_gated)
            case Signal.FAILS if not is_stale:
                self.breaker = before.on_failure(
                    feedback.fingerprint, now, started=of.started_at, is_probe=is_probe
                )
                if self.breaker is not before:
                    return self._break(feedback.error, is_gated=is_gated)
            case Signal.FAILS:
                pass
        return []

    def _learn_hold(self, feedback: Feedback, *, is_gated: bool) -> list[Noted]:
        match feedback.hold:
            case Hold.QUOTA if self.block is None and not feedback.is_doubtful:
                self.close(Block.QUOTA, feedback.error)
                return [(EventKind.QUOTA, feedback.error)]
            case Hold.HEALTH if is_gated:
                self.close(Block.HEALTH, feedback.error)
            case _:
                pass
        return []

    def _break(self, error: str, *, is_gated: bool) -> list[Noted]:
        match self.breaker.state:
            case BreakerState.PARKED:
                self.close(Block.PARKED, error)
                return [(EventKind.PARKED, f"{error}; given up for this session")]
            case BreakerState.OPEN:
                self.why = error
                if is_gated:
                    self.block = Block.HEALTH
                return [(EventKind.BREAKER, f"{error}; {self.breaker.failures} times in a row")]
            case BreakerState.CLOSED:
                return []

    def _miss(
        self, feedback: Feedback, now: float, *, of: Sent, is_probe: bool, patience_s: float
    ) -> list[Noted]:
        """Apply that a request found the service away; return lines for the event log."""
        before = self.breaker
        after = self.breaker = before.on_away(
            feedback.fingerprint,
            now,
            started=of.started_at,
            surely=feedback.is_surely_away,
            patience_s=patience_s,
            is_probe=is_probe,
            asked_s=feedback.asked_s,
        )
        if after.away_since is None:
            return []
        if after.state is BreakerState.PARKED:
            if before.state is BreakerState.PARKED:
                return []
            given_up = describe_end_of_outage(
                feedback.error, after, now, was_answered=self.answered_at is not None
            )
            self.close(Block.PARKED, given_up)
            return [(EventKind.PARKED, self.why)]
        self.why = describe_outage(
            feedback.error, after, patience_s, was_answered=self.answered_at is not None
        )
        # A single request that did not get through is not noted; the first failed probe is.
        is_news = after.probes == 1 and before.probes == 0
        return [(EventKind.OUTAGE, self.why)] if is_news else []


_BLOCKED_FOR = {
    Block.QUOTA: WaitReason.QUOTA,
    Block.CREDIT: WaitReason.CREDIT,
    Block.HEALTH: WaitReason.UNHEALTHY,
    Block.SICK: WaitReason.UNHEALTHY,
    Block.PARKED: WaitReason.GIVEN_UP,
}


def fair_share(slots: int, share: int) -> int:
    """Return how many slots one of `share` processes may use; at least one."""
    return max(1, slots // share)
