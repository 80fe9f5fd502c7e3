"""The loop: decide what may start, claim it, start it, settle what it came to.

Deciding is `limits.Lanes`, claiming and settling are the store's, an attempt is the runner's. Here they
are put together for one run in one process. The loop sleeps until the next time at which something may
start, and is woken by answers; it never polls the queue.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from engine.clock import Clock
from engine.core.circuit import Sent
from engine.core.errors import StoreError
from engine.core.model import Sends
from engine.core.progress import Progress
from engine.core.runs import EventKind, StopReason
from engine.core.settlement import Settlement, settlement
from engine.in_flight import ByteBudget
from engine.limits import next_month, opens_at
from engine.logs import about_job
from engine.machine import connections_allowed
from engine.permits import LEAD_MAX_S, LeadTime
from engine.runner import Runner
from engine.scheduler.assignment import Assignment, Stop
from engine.scheduler.attempts import Attempt, AttemptRunner
from engine.scheduler.buckets import LaneBuckets
from engine.scheduler.giving_up import describe_given_up, describe_unpaid, is_hopeless
from engine.scheduler.health import HealthChecker
from engine.scheduler.lane import Block, Lane, Noted
from engine.scheduler.lanes import UNMET_S, Lanes
from engine.scheduler.publisher import LanePublisher
from engine.scheduler.quota import QuotaTracker
from engine.scheduler.refusals import RefusalChecker
from engine.scheduler.shortage import Shortage, is_short
from engine.scheduler.turns import Turns
from engine.scheduler.watch import Watch
from engine.secrets import without_secrets
from engine.settings import Settings
from engine.store import Claim, Claimed, LaneClaim, LaneGrant, Outcome, Store

logger = logging.getLogger(__name__)

T = TypeVar("T")

_HORIZON_S = 0.2
"""How far ahead slots are taken: a fast lane is claimed a handful at a time, not one by one."""


class Scheduler:
    """Executes one run until every job has an outcome or nothing more can be sent."""

    def __init__(
        self, store: Store, clock: Clock, settings: Settings, assignment: Assignment
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._run = assignment
        self._runner = Runner(assignment.kind, assignment.client, assignment.retry)
        self.bytes = ByteBudget(settings.answers_mb * 1_000_000)
        """The memory of answers in this process, from their first bytes until they are in the store."""
        self.lanes = Lanes(assignment.limits, assignment.retry)
        self._publisher = LanePublisher(store, clock, assignment.run_id, self.lanes)
        self.expanding = False
        """True while the matrix is being written: an empty queue is then not the end."""
        self._stop: Stop | None = None
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._turns = Turns(store, clock, assignment.run_id)
        self._buckets = LaneBuckets(clock, assignment, self.lanes)
        asking = self._count_questions(assignment)
        self._quota = QuotaTracker(store, clock, asking, self._note)
        self._health = HealthChecker(clock, assignment, self._runner, self._quota, self._note)
        self._refusals = RefusalChecker(
            store, clock, asking, self._runner, self._quota, self._note, self.stop
        )
        self._watch = Watch(store, clock, settings, assignment, self._note)
        self._reserves = bool(self._quota.keys_to_reserve(clock.now()))
        self._sends_jobs = assignment.kind.sends is Sends.JOB
        self._lead = LeadTime()
        # By job and fence: a job that is due again at once may be claimed by the transaction that settles its
        # last attempt, and is then in flight twice for a moment.
        self._in_flight: dict[tuple[int, int], Lane] = {}
        self.progress = Progress()
        self._attempts = AttemptRunner(
            store,
            clock,
            assignment,
            self._runner,
            self._turns,
            self._buckets,
            self.progress,
            self._may_start,
        )

    # What others may ask of it

    def stop(self, reason: StopReason, message: str, resume_at: float | None = None) -> None:
        """Start nothing more; the first reason counts."""
        if self._stop is None:
            message = without_secrets(message)
            logger.info("%s stops (%s): %s", self._run.run, reason, message)
            self._stop = Stop(reason=reason, message=message, resume_at=resume_at)
        self.wake()

    def stop_for_lost_store(self) -> None:
        """Start nothing more, since the store has vanished; jobs in flight may end within the grace."""
        self.stop(StopReason.INTERRUPTED, "the store has vanished")

    def wake(self) -> None:
        """Check again what may be started."""
        self._wake.set()

    @property
    def jobs_in_flight(self) -> Collection[int]:
        """The jobs that are in flight in this process."""
        return {job_id for job_id, _ in self._in_flight}

    def note_reply(self, lane: str) -> None:
        """Note that a call within a job of a lane was answered: its service is there."""
        self.lanes.lane(lane).note_reply(self._clock.now())

    def report_progress(self, job_id: int, answered: int, total: int, asked_now: int) -> None:
        """Record how many questions of a job are answered."""
        self.progress.report(
            job_id, answered=answered, total=total, asked_now=asked_now, now=self._clock.now()
        )

    def publish_again(self) -> None:
        """Publish what the lanes wait for again: other processes may have given this one up."""
        self._publisher.forget()
        self.wake()

    async def refresh(self) -> None:
        """Add the lanes and jobs that are new in the store's queue."""
        self.lanes.refresh(await self._store.reader.queues(self._run.run_id))
        self.wake()

    # The loop

    async def run(self) -> Stop | None:
        """Execute the run; return None once all jobs have an outcome, else why it stopped."""
        await self._watch.reclaim()
        await self._watch.follow_clock()
        await self._keep_to_machine()
        await self.refresh()
        # Before the service is asked for its quota, which may take a while.
        await self._publisher.publish()
        await self._quota.refresh()
        self.lanes.peers = await self._store.reader.count_peers(self._run.run_id)
        await self._remember_lanes()
        await self.refresh()
        await self._share_limits()
        async with anyio.create_task_group() as helpers:
            await helpers.start(self._watch.run, self, name="watch")
            ask = partial(self._quota.ask_when_in_doubt, self.lanes, self.wake)
            helpers.start_soon(self._store.worker.run_until_lost, ask, name="quota")
            helpers.start_soon(self._store.worker.run_until_lost, self._publisher.run, name="lanes")
            async with (
                anyio.create_task_group() as jobs,
                self._store.queue.claiming_with_outcomes(self._decide, partial(self._start, jobs)),
            ):
                with self._leaving_full_store():
                    await self._loop(jobs, helpers)
                await self._drain(jobs)
            if self._stop is None or self._stop.reason is not StopReason.UNAUTHORIZED:
                with self._leaving_full_store():
                    await self._quota.ask_at_the_end()
            helpers.cancel_scope.cancel()
        return self._stop

    @contextmanager
    def _leaving_full_store(self) -> Iterator[None]:
        """Ignore a full store while leaving: the next process to open it takes back what was in flight.

        If the store has vanished, stop, and let jobs in flight end.
        """
        try:
            yield
        except StoreError:
            if self._store.is_lost:
                self.stop_for_lost_store()
                return
            is_leaving = self._stop is not None or anyio.current_effective_deadline() == -inf
            if self._store.trouble is None or not is_leaving:
                raise

    async def _keep_to_machine(self) -> None:
        """Limit the jobs in flight to the connections that this process may have open."""
        limits, allowed = self.lanes.limits, connections_allowed()
        if allowed is not None and allowed < limits.max_in_flight:
            self.lanes.limits = replace(limits, max_in_flight=allowed)
            await self._note(
                EventKind.MACHINE,
                f"at most {allowed} jobs in flight instead of max_in_flight: {limits.max_in_flight}, because"
                " this machine lets the process open no more files; raise `ulimit -n`",
            )

    async def _remember_lanes(self) -> None:
        """Recall from earlier sessions which lanes were answered; those that were away are tried again."""
        for name in await self._store.reader.lanes_with_answers(self._run.run_id):
            self.lanes.lane(name).remember_answers()
        for name, was in (await self._store.reader.lanes_in_trouble(self._run.run_id)).items():
            kind = EventKind.BACK if was is EventKind.OUTAGE else EventKind.ANSWERED
            await self._note(kind, "asked again in a new session", self.lanes.lane(name))

    def _count_questions(self, assignment: Assignment) -> Assignment:
        """Return the assignment with questions to the service that count under the key's rate, as jobs do."""
        if assignment.kind.sends is not Sends.JOB:
            return assignment
        return replace(
            assignment,
            ask_quota=self._count_question(assignment.ask_quota),
            ask_key=self._count_question(assignment.ask_key),
        )

    def _count_question(
        self, ask: Callable[[], Awaitable[T]] | None
    ) -> Callable[[], Awaitable[T]] | None:
        return None if ask is None else lambda: self._turns.ask(ask, self._buckets.of_key)

    async def _share_limits(self) -> None:
        """Publish the sweep's rates before any request: they also bind processes that began with higher ones."""
        if self._sends_jobs:
            buckets = [bucket for lane in self.lanes.lanes for bucket in self._buckets.of(lane)]
            await self._store.limits.share(self._run.run_id, buckets)

    async def _loop(self, jobs: TaskGroup, helpers: TaskGroup) -> None:
        while self._stop is None:
            self._wake = anyio.Event()
            now = self._clock.now()
            if self._run.limits.deadline is not None and now >= self._run.limits.deadline:
                self.stop(
                    StopReason.DEADLINE,
                    "the sweep's deadline has passed; move limits.deadline and run it again to go on",
                )
                continue
            await self._quota.change_month(now, self.lanes)
            await self._quota.announce_end()
            self._health.ask(self.lanes, helpers, self.wake)
            self._refusals.ask(self.lanes, helpers, self.wake)
            if self.lanes.wants(now):
                self._start(jobs, await self._store.queue.claim(self._decide))
                continue
            if await self._is_done():
                return
            self._publisher.observe(now)
            until = min(self.lanes.wakes_at(now), self._run.limits.deadline or inf, next_month(now))
            await self._clock.wait(self._wake, min(until, now + 3600.0))

    def _start(self, jobs: TaskGroup, grants: Sequence[LaneGrant]) -> None:
        """Start claimed jobs; nothing is awaited between the commit of the claim and this."""
        self._publisher.confirm_claim()
        if any(job.is_rated for grant in grants for job in grant.jobs):
            self._lead.adapt(self._clock.now() - grants[0].asked_at)
        # Those that got less come first the next time.
        for grant in sorted(grants, key=lambda one: len(one.jobs)):
            self._log_grant(grant)
            lane = self.lanes.lane(grant.lane)
            lane.take(grant)
            if grant.jobs:
                self.lanes.serve(lane)
            self._quota.note_claims(grant.jobs)
            for claimed in grant.jobs:
                are_others_idle = self.lanes.are_others_idle(lane)
                lane.start(self._clock.now(), claimed, are_others_idle=are_others_idle)
                self._in_flight[claimed.id, claimed.fence] = lane
                jobs.start_soon(self._work, claimed, lane, name=f"job {claimed.id}")
        self.wake()

    def _log_grant(self, grant: LaneGrant) -> None:
        extra = {"run": self._run.run, "lane": grant.lane}
        if grant.jobs:
            logger.debug("jobs claimed: %d", len(grant.jobs), extra=extra)
        elif grant.next_at is not None:
            logger.debug(
                "no job claimed (%s); next claim in %.1f s",
                grant.why,
                max(0.0, grant.next_at - grant.asked_at),
                extra=extra,
            )

    def _decide(self, settled: Sequence[Outcome]) -> Claim:
        """Return what to claim, just before the transaction, with which the outcomes in `settled` commit."""
        now = self._clock.now()
        ending = (self._in_flight.get((one.job_id, one.fence)) for one in settled)
        freed = Counter(lane.name for lane in ending if lane is not None)
        wants = self.lanes.wants(now, freed) if self._stop is None else {}
        return Claim(
            run_id=self._run.run_id,
            worker_id=self._store.worker_id,
            service=self._run.costs_of,
            now=now,
            lead_s=min(self._lead.seconds + self._turns.ahead_s, LEAD_MAX_S),
            # When commits are slow we claim rarely, so take every slot up to the next claim at once.
            horizon_s=max(_HORIZON_S, self._lead.seconds),
            lanes=tuple(
                LaneClaim(
                    lane=name,
                    classes=self.lanes.lane(name).classes,
                    count=count,
                    buckets=self._buckets.of(name),
                )
                for name, count in wants.items()
            ),
            quotas=self._quota.keys_to_reserve(now),
            charged_by_reply=self._run.kind.charged_by_reply,
            lane_states=self._publisher.add_to_claim(now),
        )

    async def _is_done(self) -> bool:
        """Whether nothing is left to do; stops the run if what is left cannot be sent."""
        if self.lanes.in_flight or self.expanding:
            return False
        waiting = list(self.lanes.waiting)
        if not waiting:
            if not await self._store.reader.has_open_jobs(self._run.run_id):
                return True
            # Other processes may have jobs in flight and give them back.
            self.lanes.refresh(await self._store.reader.queues(self._run.run_id))
            if any(self.lanes.waiting):
                self.wake()
            return False
        if self.lanes.peers:
            return False
        if all(map(is_hopeless, waiting)):
            await self._give_up(waiting)
        return False

    async def _give_up(self, waiting: list[Lane]) -> None:
        if await self._store.reader.count_peers(self._run.run_id) or not all(
            map(is_hopeless, waiting)
        ):
            # These lanes may wait for answers of other processes; the watch checks while there are any.
            return
        unpaid = [lane for lane in waiting if lane.block is Block.CREDIT]
        short = [lane for lane in waiting if is_short(lane)]
        if short and await self._quota.has_more(short):
            return
        if unpaid:
            self.stop(StopReason.CREDIT, describe_unpaid(unpaid))
            return
        if short:
            now = self._clock.now()
            shortage = Shortage(self._store, self._run, short, self._quota.keys(now), now)
            self.stop(StopReason.QUOTA, await shortage.describe(), await shortage.find_end())
            return
        self.stop(StopReason.UNHEALTHY, describe_given_up(waiting))

    async def _drain(self, jobs: TaskGroup) -> None:
        """Let jobs in flight end, since they were paid for."""
        if self._stop is None or not self.lanes.in_flight:
            return
        hurried = self._stop.reason in (StopReason.INTERRUPTED, StopReason.CANCELLED)
        until = self._clock.now() + (self._settings.grace_s if hurried else inf)
        while self.lanes.in_flight:
            self._idle = anyio.Event()
            await self._clock.wait(self._idle, min(until, self._clock.now() + 3600.0))
            if self._clock.now() >= until:
                jobs.cancel_scope.cancel()
                return

    # One job

    async def _work(self, claimed: Claimed, lane: Lane) -> None:
        attempt = Attempt(claimed=claimed, lane=lane, began=self._clock.now())
        # An answer takes memory until it is in the store.
        with about_job(claimed.id), self.bytes.job():
            try:
                await self._attempts.run(attempt)
            finally:
                # The store shields its writes: the outcome of a cancelled attempt is recorded, too.
                await self._settle(attempt)

    def _slow_down(self, error: str, now: float) -> list[Noted]:
        """Slow down because this machine ran short; stop once that lasts as long as an outage may."""
        lanes = self.lanes
        is_new = lanes.pause(now, error)
        if lanes.faults > 1 and now - lanes.faulty_since > (self._run.retry.outage_s or UNMET_S):
            self.stop(StopReason.UNHEALTHY, error)
        return (
            [(EventKind.MACHINE, f"{error}; fewer requests are sent meanwhile")] if is_new else []
        )

    async def _settle(self, attempt: Attempt) -> None:
        claimed, lane, began, now = attempt.claimed, attempt.lane, attempt.began, self._clock.now()
        settled = settlement(attempt.end, now, reserved=claimed.reserved or 0)
        logger.debug(
            "attempt %d %s after %.3f s",
            claimed.attempt,
            settled.outcome,
            now - began,
            extra={"run": self._run.run, "lane": lane.name, "status": settled.status},
        )
        feedback = settled.feedback
        notes = lane.apply(
            feedback,
            now,
            of=Sent(job_id=claimed.id, fence=claimed.fence, started_at=began),
            patience_s=self.lanes.patience_s(lane),
            is_gated=self._run.ask_health is not None,
            sends_jobs=self._sends_jobs,
        )
        notes += self._apply(settled)
        try:
            with self._leaving_full_store():
                await self._store.queue.settle(
                    self._attempts.make_outcome(attempt, settled, reserves=self._reserves)
                )
        finally:
            lane.end()
            del self._in_flight[claimed.id, claimed.fence]
        if settled.is_charged:
            self._quota.note_end(began, has_answer=feedback.has_succeeded)
        if feedback.has_outcome or self.lanes.peers:
            # Another process may take a job that is given back.
            self.progress.end(claimed.id, has_outcome=feedback.has_outcome)
        if not feedback.has_outcome:
            lane.offer(claimed.cost_class, settled.due_at)
        self.lanes.retry_refused()
        if not self.lanes.in_flight:
            self._idle.set()
            self._refusals.hasten(self.lanes)
        self.wake()
        for kind, message in notes:
            await self._note(kind, message, lane)

    def _apply(self, settled: Settlement) -> list[Noted]:
        """Stop, slow down or recover after an attempt; return lines for the event log."""
        if settled.stops is not None:
            self.stop(settled.stops, settled.feedback.error)
        if settled.is_machine_short:
            return self._slow_down(settled.feedback.error, settled.ended_at)
        if settled.feedback.has_succeeded:
            self.lanes.recover()
        return []

    # Limits

    def _may_start(self, claimed: Claimed, lane: Lane, now: float) -> bool:
        """Whether the request of a claimed job may be written."""
        lets_go = lane.lets_go(max(now, claimed.start_at), claimed.id, claimed.fence)
        return lets_go and self._stop is None and self._is_open(now)

    def _is_open(self, now: float) -> bool:
        """Whether the window and the deadline let requests start: a slot may lie behind their end."""
        limits = self._run.limits
        in_time = limits.deadline is None or now < limits.deadline
        return in_time and opens_at(limits.window, now) <= now

    async def _note(self, kind: EventKind, message: str, lane: Lane | None = None) -> None:
        name, message = None if lane is None else lane.name, without_secrets(message)
        # Warnings are shown whatever the progress looks like.
        level = logging.WARNING if kind in _TOLD_AT_ONCE else logging.INFO
        told = message if name is None else f"{name}: {message}"
        logger.log(level, "%s: %s", kind, told, extra={"run": self._run.run, "lane": name})
        with self._leaving_full_store():
            await self._store.runs.add_event(self._run.run_id, kind, message, lane=name)


_TOLD_AT_ONCE = (EventKind.OUTAGE, EventKind.BACK, EventKind.MACHINE)
