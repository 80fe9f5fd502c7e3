"""Attempts at claimed jobs: each from its slot to its end, and what the store keeps of it."""

from dataclasses import dataclass, field
from functools import partial

from engine.clock import Clock
from engine.core.model import Job, Sends
from engine.core.progress import Progress
from engine.core.rates import GUARD_S
from engine.core.retry import interruption
from engine.core.settlement import AttemptEnd, Settlement
from engine.limits import opens_at
from engine.runner import Runner
from engine.scheduler.assignment import Assignment
from engine.scheduler.buckets import LaneBuckets
from engine.scheduler.lane import Lane
from engine.scheduler.steering import Steering
from engine.scheduler.turns import Turns
from engine.starts import starting_with
from engine.store import Blocked, Claimed, Outcome, Store


@dataclass(slots=True, kw_only=True)
class Attempt:
    """An attempt at a claimed job; one that is cancelled has an end, too."""

    claimed: Claimed
    lane: Lane
    began: float
    """When it was started; until then, when its job was claimed."""
    end: AttemptEnd = field(default_factory=lambda: AttemptEnd(interruption(sent=False)))


class AttemptRunner:
    """Runs the attempts of one run."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        assignment: Assignment,
        runner: Runner,
        turns: Turns,
        buckets: LaneBuckets,
        progress: Progress,
        steering: Steering,
    ) -> None:
        self._store = store
        self._clock = clock
        self._run = assignment
        self._runner = runner
        self._turns = turns
        self._buckets = buckets
        self._progress = progress
        self._steering = steering
        self._documents = dict(assignment.documents)

    async def run(self, attempt: Attempt) -> None:
        """Wait for the attempt's slot and run it; what it came to is in `attempt`, also if this is cancelled.

        Sets `attempt.began` and `attempt.end` and returns nothing. An attempt whose slot has passed, or
        whose lane, window or run no longer lets it start, sends nothing and keeps its first end, after
        which the job is given back. Raises StoreError if the job's documents cannot be read; errors of the
        job itself are part of the end.
        """
        claimed, lane = attempt.claimed, attempt.lane
        job = await self._make_job(claimed, lane)
        starts_at = claimed.start_at - self._turns.ahead_s
        if starts_at > attempt.began:
            await self._clock.sleep(starts_at - attempt.began)
        now = self._clock.now()
        # A request that starts after its slot may be one too many in its minute.
        is_late = claimed.is_rated and now > claimed.start_at + GUARD_S
        if (is_late and not self._turns.is_used) or not self._may_start(claimed, lane, now):
            return
        attempt.began, attempt.end = now, AttemptEnd(interruption(sent=True))
        self._progress.begin(claimed.id, expected=claimed.expected_tests, now=now)
        context = self._run.context_of(claimed)
        start = None
        if self._run.kind.sends is Sends.JOB:
            start = self._turns.of(
                claimed,
                partial(self._buckets.of, lane.name),
                partial(self._may_start, claimed, lane),
            )
        with starting_with(start):
            attempt.end = await self._runner.attempt(
                job, context, lane.throttled, lambda error: lane.circuit.blame(claimed.id, error)
            )

    def _may_start(self, claimed: Claimed, lane: Lane, now: float) -> bool:
        """Whether the request of a claimed job may be written.

        A stop, a pause or the end of the window may come between its claim and its slot.
        """
        lets_go = lane.lets_go(max(now, claimed.start_at), claimed.id, claimed.fence)
        return lets_go and self._steering.stopped is None and self._is_open(now)

    def _is_open(self, now: float) -> bool:
        """Whether the window and the deadline let requests start: a slot may lie behind their end."""
        limits = self._run.limits
        in_time = limits.deadline is None or now < limits.deadline
        return in_time and opens_at(limits.window, now) <= now

    async def _make_job(self, claimed: Claimed, lane: Lane) -> Job:
        parameters = dict(claimed.labels)
        repeat = parameters.pop("repeat", claimed.repeat)
        missing = [one for one in claimed.documents.values() if one not in self._documents]
        if missing:
            self._documents.update(await self._store.reader.documents(missing))
        for name, digest in claimed.documents.items():
            parameters[name] = self._documents[digest]
        return Job(
            id=claimed.id,
            key=claimed.key.hex(),
            run=self._run.run,
            parameters=parameters,
            labels=claimed.labels,
            repeat=repeat,
            attempt=claimed.attempt,
            attempts=self._run.retry.attempts,
            unanswered=self._run.unanswered,
            waits_out_outages=not lane.circuit.is_to_blame(claimed.id),
        )

    def make_outcome(self, attempt: Attempt, settled: Settlement, *, reserves: bool) -> Outcome:
        """Return what the store keeps of an attempt; nothing is written yet.

        `reserves` says whether quota was held for it. If the service asked to wait, the outcome also blocks
        the lane's last rate row until then, which holds back other processes too.
        """
        kind, answer, held_s = self._run.kind, settled.answer, settled.feedback.held_s
        claimed = attempt.claimed
        most_tests = provenance = None
        if answer is not None:
            most_tests = kind.most_tests(claimed.labels, answer.measurement)
            provenance = self._run.provenance(claimed.labels)
        blocked = {}
        if held_s:
            row = self._buckets.of(attempt.lane.name)[-1].name
            until = settled.ended_at + held_s
            blocked[row] = Blocked(until, settled.feedback.has_retry_after)
        return Outcome(
            job_id=claimed.id,
            run_id=self._run.run_id,
            fence=claimed.fence,
            event=settled.event,
            attempt_outcome=settled.outcome,
            ended_at=settled.ended_at,
            service=self._run.costs_of,
            cost_class=claimed.cost_class,
            reserved=reserves,
            answer=answer,
            most_tests=most_tests,
            provenance=provenance,
            charged=settled.is_charged,
            sent=settled.is_sent,
            keeps_attempt=settled.keeps_attempt,
            due_at=settled.due_at,
            status=settled.status,
            error=settled.error,
            detail=settled.detail,
            blocked=blocked,
        )
