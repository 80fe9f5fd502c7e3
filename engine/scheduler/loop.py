"""The loop: claim what may start, start it, and settle what it came to, until the run is done or stops.

Here the parts of the scheduler are put together for one run in one process. The loop sleeps until the next
time at which something may start, and is woken by answers; it never polls the queue.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from engine.clock import Clock
from engine.core.model import Sends
from engine.core.progress import AttemptProgress, Progress
from engine.core.runs import EventKind, StopReason
from engine.in_flight import ByteBudget
from engine.limits import next_month
from engine.logs import about_job
from engine.machine import connections_allowed
from engine.runner import Runner
from engine.scheduler.assignment import Assignment, Stop
from engine.scheduler.attempts import Attempt, AttemptRunner
from engine.scheduler.buckets import LaneBuckets
from engine.scheduler.claiming import Claimer
from engine.scheduler.event_log import EventLog
from engine.scheduler.giving_up import find_stop, is_hopeless
from engine.scheduler.health import HealthChecker
from engine.scheduler.lane import Lane
from engine.scheduler.lanes import Lanes
from engine.scheduler.publisher import LanePublisher, ProgressPublisher
from engine.scheduler.quota import QuotaTracker
from engine.scheduler.refusals import RefusalChecker
from engine.scheduler.settling import Settler
from engine.scheduler.steering import Steering
from engine.scheduler.turns import Turns
from engine.scheduler.watch import Watch
from engine.settings import Settings
from engine.store import Claimed, LaneGrant, Store

T = TypeVar("T")

_FULL = 0.75
"""The share of the slots that are taken when all are, except those that are about to be filled again."""


class Scheduler:
    """Executes one run until every job has an outcome or nothing more can be sent."""

    def __init__(
        self, store: Store, clock: Clock, settings: Settings, assignment: Assignment
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._run = assignment
        self.bytes = ByteBudget(settings.answers_mb * 1_000_000)
        """The memory of answers in this process, from their first bytes until they are in the store."""
        self.lanes = Lanes(assignment.limits, assignment.retry, slots=assignment.slots)
        self.progress = Progress()
        self.expanding = False
        """True while the matrix is being written: an empty queue is then not the end."""
        self.requeueing = False
        """True while jobs are put back into the queue, which has the same consequence."""
        self.claimed = 0
        """The number of jobs that were claimed here so far."""
        self._steering = Steering(store, clock, assignment)
        self._note = EventLog(store, assignment, self._steering).note
        self._publisher = LanePublisher(store, clock, assignment.run_id, self.lanes)
        self._progress_publisher = ProgressPublisher(store, clock)
        self._turns = Turns(store, clock, assignment.run_id)
        self._buckets = LaneBuckets(clock, assignment, self.lanes)
        asking = self._count_questions(assignment)
        self._quota = QuotaTracker(store, clock, asking, self._note)
        runner = Runner(assignment.kind, assignment.client, assignment.retry)
        self._health = HealthChecker(clock, assignment, runner, self._quota, self._note)
        self._refusals = RefusalChecker(
            store, clock, asking, runner, self._quota, self._note, self.stop
        )
        self._watch = Watch(store, clock, settings, assignment, self._note)
        self._claimer = Claimer(
            store,
            clock,
            assignment,
            self.lanes,
            self._steering,
            self._publisher,
            self._quota,
            self._turns,
            self._buckets,
        )
        self._attempts = AttemptRunner(
            store,
            clock,
            assignment,
            runner,
            self._turns,
            self._buckets,
            self.progress,
            self._steering,
        )
        self._settler = Settler(
            store,
            clock,
            assignment,
            self.lanes,
            self._steering,
            self._attempts,
            self._quota,
            self._refusals,
            self.progress,
            self._note,
        )

    # What others may ask of it

    def stop(self, reason: StopReason, message: str, resume_at: float | None = None) -> None:
        """Start nothing more and let requests in flight end; the first reason counts, later calls change nothing.

        `message` tells people what happened, without keys. `resume_at` is when the run can go on, in
        seconds since the epoch; None if that does not depend on time.
        """
        self._steering.stop(reason, message, resume_at)

    def stop_for_lost_store(self) -> None:
        """Start nothing more, since the store has vanished; jobs in flight may end within the grace."""
        self._steering.stop_for_lost_store()

    def wake(self) -> None:
        """Check again what may be started."""
        self._steering.wake()

    @property
    def jobs_in_flight(self) -> Collection[int]:
        """The jobs that are in flight in this process."""
        return self.lanes.jobs_in_flight

    def note_reply(self, lane: str) -> None:
        """Note that a call within a job of a lane was answered: its service is there."""
        self.lanes.lane(lane).note_reply(self._clock.now())

    def report_progress(self, progress: AttemptProgress, asked_now: int) -> None:
        """Record how many of a job's questions are answered, also for other processes.

        `asked_now` were answered since the last report by new replies, not by kept ones.
        """
        self.progress.report(
            progress.job_id,
            answered=progress.answered,
            total=progress.total,
            asked_now=asked_now,
            now=self._clock.now(),
        )
        self._progress_publisher.add(progress)

    def publish_again(self) -> None:
        """Publish what the lanes wait for again: other processes may have given this one up."""
        self._publisher.forget()
        self.wake()

    async def refresh(self) -> None:
        """Add the lanes and jobs that are new in the store's queue."""
        self.lanes.refresh(await self._store.reader.queues(self._run.run_id))
        self.wake()

    def offer(self, queues: Mapping[str, tuple[str, ...]]) -> None:
        """Add lanes and jobs that were added to the store's queue: the cost classes by lane."""
        self.lanes.refresh(queues)
        self.wake()

    @property
    def is_full(self) -> bool:
        """Whether nearly all slots are taken, so that more jobs in the queue would not be sent."""
        return self.lanes.in_flight >= _FULL * self.lanes.limits.max_in_flight

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
            for name, publisher in (
                ("lanes", self._publisher),
                ("progress", self._progress_publisher),
            ):
                helpers.start_soon(self._store.worker.run_until_lost, publisher.run, name=name)
            async with (
                anyio.create_task_group() as jobs,
                self._store.queue.claiming_with_outcomes(
                    self._claimer.decide, partial(self._start, jobs)
                ),
            ):
                with self._steering.leaving_full_store():
                    await self._loop(jobs, helpers)
                await self._drain(jobs)
            stop = self._steering.stopped
            if stop is None or stop.reason is not StopReason.UNAUTHORIZED:
                with self._steering.leaving_full_store():
                    await self._quota.ask_at_the_end()
            helpers.cancel_scope.cancel()
        return self._steering.stopped

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
        if self._run.kind.sends is Sends.JOB:
            buckets = [bucket for lane in self.lanes.lanes for bucket in self._buckets.of(lane)]
            await self._store.limits.share(self._run.run_id, buckets)

    async def _loop(self, jobs: TaskGroup, helpers: TaskGroup) -> None:
        while self._steering.stopped is None:
            self._steering.listen()
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
            self.lanes.pass_time(now)
            if self.lanes.wakes_at(now) <= now:
                self._start(jobs, await self._store.queue.claim(self._claimer.decide))
                continue
            if await self._is_done():
                return
            self._publisher.observe(now)
            until = min(self.lanes.wakes_at(now), self._run.limits.deadline or inf, next_month(now))
            await self._steering.wait(until)

    def _start(self, jobs: TaskGroup, grants: Sequence[LaneGrant]) -> None:
        """Start claimed jobs; nothing is awaited between the commit of the claim and this."""
        for claimed, lane in self._claimer.take(grants):
            self.claimed += 1
            jobs.start_soon(self._work, claimed, lane, name=f"job {claimed.id}")
        self.wake()

    async def _is_done(self) -> bool:
        """Whether nothing is left to do; stops the run if what is left cannot be sent."""
        if self.lanes.in_flight or self.expanding or self.requeueing:
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
            stop = await find_stop(self._store, self._clock, self._run, self._quota, waiting)
            if stop is not None:
                self.stop(stop.reason, stop.message, stop.resume_at)
        return False

    async def _drain(self, jobs: TaskGroup) -> None:
        """Let jobs in flight end, since they were paid for."""
        stop = self._steering.stopped
        if stop is None or not self.lanes.in_flight:
            return
        is_hurried = stop.reason in (StopReason.INTERRUPTED, StopReason.CANCELLED)
        until = self._clock.now() + (self._settings.grace_s if is_hurried else inf)
        while self.lanes.in_flight:
            self._steering.listen()
            await self._steering.wait(until)
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
                await self._settler.settle(attempt)
