"""The circuit of a lane: whether its service is there and accepts requests, and the probe that finds out.

The breaker opens once requests fail alike or the service is away; a doubt begins when the service refuses
a request, possibly by mistake. While there is either, the circuit is not closed: at most one request at a
time is sent, as a probe, and its end decides how the circuit goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

from engine.core.breaker import Breaker, BreakerState
from engine.core.doubt import Doubt
from engine.core.errors import JobError
from engine.core.retry import Blame, Hold, is_away
from engine.core.runs import WaitReason
from engine.core.settlement import Feedback, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The attempt that feedback is about: its job and claim, and when its request left or would have left."""

    job_id: int
    fence: int
    started_at: float


class Change(StrEnum):
    """What the end of an attempt changed for the lane and for its log."""

    DOUBTED = "doubted"
    """A request was refused, possibly by mistake."""
    REFUSED = "refused"
    """The probe after that was refused, too."""
    ACCEPTED = "accepted"
    """A request was accepted after more than one was refused."""
    TRIPPED = "tripped"
    """The breaker opened, or a probe failed, because requests fail alike."""
    SPENT = "spent"
    """Every probe failed: the breaker is parked."""
    AWAY = "away"
    """The service is away, or still away."""
    GIVEN_UP = "given up"
    """The service was away for too long: the breaker is parked."""
    BACK = "back"
    """The service is no longer away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The circuit of one lane; every change gives a new one. Times in seconds since the epoch."""

    breaker: Breaker
    doubt: Doubt | None = None
    """A refusal that is being confirmed."""
    probe: tuple[int, int] | None = None
    """Job and fence of the request that finds out whether the service is back, or still refuses."""
    suspects: Mapping[int, int] = field(default_factory=dict)
    """Unfinished jobs that found the service away, with the value of `answers` at the first time."""
    answers: int = 0
    """Answers of the service in this process, including errors that only the service can send."""
    answered_at: float | None = None
    """When the service last answered in this run; None if it never has."""
    worked_at: float = -inf
    """When a job last got an answer: the failure of a request that began before says nothing about now."""

    # What it lets through

    def admits(self, now: float) -> int | None:
        """The number of jobs that may be started at `now`: 0, 1 as a probe, or None for any number."""
        most = self.breaker.admits(now)
        if self.doubt is None:
            return most
        doubted = self.doubt.admits(now)
        return doubted if most is None else min(most, doubted)

    @property
    def admits_at(self) -> float:
        """When a job may be started; infinite if time alone does not decide."""
        at = self.breaker.admits_at
        return at if self.doubt is None else max(at, self.doubt.admits_at)

    def lets_through(self, job_id: int, fence: int) -> bool:
        """Whether a claimed job may still be sent: any while the circuit is closed, else the probe alone."""
        is_closed = self.breaker.state is BreakerState.CLOSED and self.doubt is None
        return is_closed or self.probe == (job_id, fence)

    @property
    def waits_for(self) -> WaitReason | None:
        """What its jobs wait for while the circuit is not closed; None if it is, or its breaker is parked."""
        if self.doubt is not None:
            return WaitReason.REFUSED
        if self.breaker.state is not BreakerState.OPEN:
            return None
        return WaitReason.ERRORS if self.breaker.away_since is None else WaitReason.OUTAGE

    def blame(self, job_id: int, error: JobError) -> Blame:
        """Return what a failure of a job is put down to: an outage, the job, or neither for certain.

        During an outage no failure is the job's. A job that found the service away before is to blame if the
        service has answered others since.
        """
        if self.breaker.away_since is not None:
            return Blame.OUTAGE
        if job_id not in self.suspects:
            return Blame.UNKNOWN
        if self.is_to_blame(job_id):
            return Blame.JOB
        return Blame.OUTAGE if is_away(error) else Blame.UNKNOWN

    def is_to_blame(self, job_id: int) -> bool:
        """Whether it would be the job's fault if it found the service away once more: others were answered since."""
        is_away = self.breaker.away_since is not None
        return not is_away and self.suspects.get(job_id, self.answers) < self.answers

    # What changes it

    def on_start(self, now: float, job_id: int, fence: int, *, is_alone: bool) -> "Circuit":
        """After a job was started; if only one may be sent, as a probe, it is that one.

        `is_alone` says whether nothing else is in flight that may hold quota.
        """
        if self.admits(now) != 1:
            return self
        return replace(
            self,
            probe=(job_id, fence),
            breaker=self.breaker.on_start(),
            doubt=None if self.doubt is None else self.doubt.on_try(now, is_alone=is_alone),
        )

    def on_end(
        self, feedback: Feedback, now: float, *, of: Sent, patience_s: float, is_blocked: bool
    ) -> tuple["Circuit", list[Change]]:
        """After an attempt ended; the changes are in the order in which they are logged.

        `patience_s` is how many seconds the service may be away. `is_blocked` says whether the lane sends
        nothing for another reason; then its refusals are not doubted.
        """
        doubt, changes = self._judge_refusal(feedback, now, of=of, is_blocked=is_blocked)
        breaker, trips = self._judge_failure(feedback, now, of=of, patience_s=patience_s)
        changes += trips
        if self.breaker.away_since is not None and breaker.away_since is None:
            changes.append(Change.BACK)
        has_worked = feedback.has_succeeded or bool(self.breaker.misses and not breaker.misses)
        after = replace(
            self,
            breaker=breaker,
            doubt=doubt,
            suspects=self._judge_suspect(feedback, of.job_id),
            answers=self.answers + int(feedback.is_answer),
            answered_at=now if feedback.is_answer else self.answered_at,
            worked_at=now if has_worked else self.worked_at,
        )
        return after, changes

    def on_reply(self, now: float) -> "Circuit":
        """After a call within a job was answered: the service is there, although the job has no answer yet."""
        return self if self.answered_at is not None else replace(self, answered_at=now)

    def on_earlier_answers(self) -> "Circuit":
        """After the service was found to have answered in an earlier session."""
        return replace(self, answered_at=0.0)

    def end_doubt(self) -> "Circuit":
        """After the refusal was confirmed."""
        return replace(self, doubt=None)

    def try_again(self, until: float) -> "Circuit":
        """After the service was asked and did not confirm the refusal: another request may try from `until` on."""
        return self if self.doubt is None else replace(self, doubt=self.doubt.try_again(until))

    def hasten(self, now: float) -> "Circuit":
        """After everything in flight has ended that could hold quota: another request may try at once."""
        return self if self.doubt is None else replace(self, doubt=self.doubt.hasten(now))

    # How an end is judged

    def _is_probe(self, of: Sent) -> bool:
        return self.probe == (of.job_id, of.fence)

    def _is_stale(self, of: Sent) -> bool:
        """Whether the service has worked since the request left, so its failure says nothing."""
        return of.started_at < self.worked_at and not self._is_probe(of)

    def _judge_refusal(
        self, feedback: Feedback, now: float, *, of: Sent, is_blocked: bool
    ) -> tuple[Doubt | None, list[Change]]:
        """Doubt a refusal, or stop doubting it. A first refusal is not logged: many are singular."""
        before, is_probe = self.doubt, self._is_probe(of)
        if feedback.is_doubtful:
            hold = feedback.hold
            assert hold is not None, "only what is given back was refused so"
            if before is not None and before.hold is hold:
                if not is_probe:
                    return before, []
                after = before.on_refusal(feedback.error, feedback.needs)
                return after, [] if before.is_repeated else [Change.REFUSED]
            is_new = before is None and not is_blocked and not self._is_stale(of)
            if is_probe or is_new:
                doubt = Doubt(hold=hold, why=feedback.error, since=now, needs=feedback.needs)
                return doubt, [Change.DOUBTED]
            return before, []
        if before is None or not is_probe:
            return before, []
        is_over = feedback.has_succeeded or (
            before.hold is Hold.UNAUTHORIZED and feedback.is_refusal_over
        )
        if not is_over:
            return before.on_inconclusive(), []
        return None, [Change.ACCEPTED] if before.is_repeated else []

    def _judge_failure(
        self, feedback: Feedback, now: float, *, of: Sent, patience_s: float
    ) -> tuple[Breaker, list[Change]]:
        before, is_probe = self.breaker, self._is_probe(of)
        match feedback.signal:
            case Signal.WORKS:
                return before.on_success(), []
            case Signal.NOTHING:
                return before.on_inconclusive() if is_probe else before, []
            case Signal.REFUSES:
                return before.on_refusal(is_probe=is_probe, sent=feedback.is_sent), []
            case Signal.AWAY | Signal.FAILS if self._is_stale(of):
                return before, []
            case Signal.AWAY:
                after = before.on_away(
                    feedback.fingerprint,
                    now,
                    started=of.started_at,
                    surely=feedback.is_surely_away,
                    patience_s=patience_s,
                    is_probe=is_probe,
                    asked_s=feedback.asked_s,
                )
                if after.away_since is None or _is_parked(before):
                    return after, []
                return after, [Change.GIVEN_UP if _is_parked(after) else Change.AWAY]
            case Signal.FAILS:
                after = before.on_failure(
                    feedback.fingerprint, now, started=of.started_at, is_probe=is_probe
                )
                if after is before or after.state is BreakerState.CLOSED:
                    return after, []
                return after, [Change.SPENT if _is_parked(after) else Change.TRIPPED]

    def _judge_suspect(self, feedback: Feedback, job_id: int) -> Mapping[int, int]:
        is_known = job_id in self.suspects
        if feedback.has_outcome and is_known:
            return {one: at for one, at in self.suspects.items() if one != job_id}
        if feedback.signal is Signal.AWAY and not feedback.has_outcome and not is_known:
            # The first time is kept: a job that fails like this again after others were answered is to blame.
            return {**self.suspects, job_id: self.answers}
        return self.suspects


def _is_parked(breaker: Breaker) -> bool:
    return breaker.state is BreakerState.PARKED
