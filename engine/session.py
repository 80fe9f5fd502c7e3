"""The Python API: open a store, submit a sweep, run it, look at it, pause and resume it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import anyio

from engine.clock import Clock, SystemClock
from engine.core.errors import JobError, UsageError
from engine.core.forecast import LaneLoad, seconds_left
from engine.core.matrix import JobSpec
from engine.core.model import Finding
from engine.core.nearest import suggestion
from engine.core.states import State
from engine.core.status import QuotaStatus, Row, RunInfo, RunState, Status, StopReason, Waiting
from engine.job import Service
from engine.registry import Registry
from engine.report.rows import rows
from engine.scheduler import Assignment, Scheduler, Stop, quota_keys
from engine.settings import Settings
from engine.store import Bucket, NewJob, NewRun, RunRow, Store, Totals, open_store
from engine.sweep import Sweep

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BATCH = 2_000
"""Jobs written in one transaction while the matrix is expanded."""


@asynccontextmanager
async def open_engine(
    store: str | Path = "nightsweep.db",
    *,
    registry: Registry | None = None,
    clock: Clock | None = None,
    settings: Settings | None = None,
) -> AsyncIterator["Engine"]:
    """Open the store at a path, creating it if there is none; everything else is done through it.

    Raises StoreError when the store cannot be used.
    """
    clock = clock or SystemClock()
    async with open_store(Path(store), clock) as opened:
        yield Engine(
            opened,
            registry or Registry.installed(),
            clock,
            settings or Settings.from_environment(),
        )


class Engine:
    """An open store with what is needed to run sweeps in it."""

    def __init__(self, store: Store, registry: Registry, clock: Clock, settings: Settings) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.settings = settings

    async def submit(self, sweep: Sweep) -> "Run":
        """The run of a sweep's name, made or changed to what the sweep asks for; nothing is sent.

        `groups: all` is asked of the service once and then stays as it was pinned. Raises UsageError
        when the run of this name evaluates something else.
        """
        before = await self.store.find_run(sweep.name)
        pinned: Sequence[str] | None = None
        if sweep.groups_pending:
            pinned = before.sweep["pinned_groups"] if before is not None else None
            sweep = sweep.with_groups(pinned) if pinned else await settle_groups(sweep, self.clock)
            pinned = sweep.groups()
        row = await self.store.begin(
            NewRun(
                name=sweep.name,
                service=sweep.service_kind,
                evaluation=sweep.evaluation,
                target=sweep.target,
                identity=sweep.service(self.clock).identity,
                sweep={"sweep": sweep.dump(), "pinned_groups": pinned},
                digest=sweep.digest,
            )
        )
        return Run(self, row, sweep)

    async def run(self, name: str | None = None) -> "Run":
        """The run of a name, or without one the run that was used last.

        Raises UsageError when there is none.
        """
        row = await self.store.find_run(name)
        if row is None:
            known = ", ".join(one.name for one, _ in await self.store.runs()) or "none"
            what = "is empty" if name is None else f"has no run {name!r} (it has: {known})"
            raise UsageError(f"{self.store.path}: the store {what}")
        return Run(self, row, Sweep.restore(row.sweep["sweep"], self.registry))

    async def runs(self) -> list[RunInfo]:
        """All runs of the store, the latest first."""
        return [
            RunInfo(
                name=row.name,
                service=row.service,
                evaluation=row.evaluation,
                state=row.state,
                reason=None if row.reason is None else StopReason(row.reason),
                created_at=row.created_at,
                updated_at=row.updated_at,
                jobs={state.value: count for state, count in jobs.items()},
            )
            for row, jobs in await self.store.runs()
        ]


class Run:
    """One run in the store: it can be executed here, and looked at and steered from anywhere."""

    def __init__(self, engine: Engine, row: RunRow, sweep: Sweep) -> None:
        self.name = row.name
        self.sweep = sweep
        self._engine = engine
        self._store = engine.store
        self._row = row
        self._scheduler: Scheduler | None = None
        self._stopping = False

    async def execute(self) -> Status:
        """Send all that is not answered yet, in the foreground, until done or stopped.

        Returns where the run then stands; raises UsageError or StoreError when it cannot be worked on.
        Cancelled from outside, it gives back what is in flight before it ends.
        """
        await self._store.set_state(self._row.id, RunState.ACTIVE)
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(self.sweep.service(self._engine.clock))
            gate = self.sweep.health_gate(self._engine.clock)
            if gate is not None:
                await stack.enter_async_context(gate)
            scheduler = Scheduler(
                self._store,
                self._engine.clock,
                self._engine.settings,
                Assignment(
                    run_id=self._row.id,
                    run=self.name,
                    kind=_kind_of(service, self.sweep),
                    limits=self.sweep.limits,
                    retry=self.sweep.retry,
                    costs_of=f"{self._row.identity} {self._row.evaluation} {self._row.target}",
                    account=_account(service),
                    documents=self.sweep.documents(),
                    context=_Context(self._store, self._engine.clock, self._row.id),
                    gate=gate,
                    ask_quota=service.quota,
                ),
            )
            self._scheduler = scheduler
            if self._stopping:
                self.stop()
            try:
                stop = await _outside_group(lambda: self._work(scheduler))
            finally:
                self._scheduler, self._stopping = None, False
        await self._conclude(stop)
        return await self.status()

    async def _work(self, scheduler: Scheduler) -> Stop | None:
        async with anyio.create_task_group() as tasks:
            if not self._row.is_expanded:
                scheduler.expanding = True
                tasks.start_soon(self._expand, scheduler, name="expand")
            stop = await scheduler.run()
            tasks.cancel_scope.cancel()
        return stop

    async def _expand(self, scheduler: Scheduler) -> None:
        """Write the matrix into the queue, batch by batch, while the first jobs already run."""
        await self._store.add_documents(self.sweep.documents())
        reuse = self.sweep.reuse and await self._store.has_other_runs(self._row)
        jobs = map(self._new_job, self.sweep.jobs())
        while batch := list(islice(jobs, _BATCH)):
            await self._store.add_jobs(self._row, batch, reuse=reuse)
            await scheduler.refresh()
        await self._store.finish_expansion(self._row)
        scheduler.expanding = False
        await scheduler.refresh()

    def _new_job(self, spec: JobSpec) -> NewJob:
        folds = self.sweep.fold == "always" or (
            self.sweep.fold == "exact" and self.sweep.kind.folds_exactly(spec.labels)
        )
        return NewJob(
            key=spec.key,
            family=spec.family,
            folds=folds,
            lane=spec.lane,
            cost_class=spec.cost_class,
            expected_tests=spec.expected_tests,
            labels=spec.labels,
            documents=spec.documents,
            repeat=spec.repeat,
            threshold=spec.cells[-1] if spec.cells else None,
            cells=spec.cells,
        )

    async def _conclude(self, stop: Stop | None) -> None:
        if stop is None:
            # Cancelled by somebody while the last requests came in, it stays cancelled.
            await self._store.set_state(
                self._row.id, RunState.FINISHED, unless=(RunState.CANCELLED,)
            )
        elif stop.reason is StopReason.CANCELLED:
            await self._store.cancel(self._row.id)
        else:
            await self._store.set_state(
                self._row.id,
                RunState.PAUSED if stop.reason is StopReason.PAUSED else RunState.ACTIVE,
                reason=stop.reason,
                message=stop.message,
                resume_at=stop.resume_at,
                unless=(RunState.CANCELLED,),
            )
            await self._store.note(self._row.id, stop.reason, stop.message)

    def stop(self) -> None:
        """Start nothing more, let what is in flight end within the grace, then return."""
        self._stopping = True
        if self._scheduler is not None:
            self._scheduler.stop(StopReason.INTERRUPTED, "interrupted")

    async def status(self) -> Status:
        """Where the run stands, counted from its rows."""
        row = await self._store.find_run(self.name)
        assert row is not None, "runs are never deleted"
        now = self._engine.clock.now()
        totals = await self._store.totals(row.id)
        limits = self.sweep.limits
        left, binding = seconds_left(
            (
                LaneLoad(
                    jobs=sum(counts[state] for state in _OPEN),
                    rate_per_min=limits.for_lane(lane).rate_per_min,
                )
                for lane, counts in totals.lanes.items()
            ),
            rate_per_min=limits.rate_per_min,
            sent=totals.sent_last_minute,
            sent_over_s=totals.sent_over_s,
        )
        keys = quota_keys(self.sweep.kind, limits, self.name, self._account(), now)
        quotas = await self._store.quotas(keys)
        return Status(
            run=self.name,
            state=row.state,
            reason=None if row.reason is None else StopReason(row.reason),
            message=row.message,
            resume_at=row.resume_at,
            cells=sum(totals.cells.values()),
            cells_done=totals.cells[State.SUCCEEDED],
            cells_failed=totals.cells[State.FAILED] + totals.cells[State.CANCELLED],
            jobs={state.value: count for state, count in totals.jobs.items()},
            tests_passed=totals.passed,
            tests_failed=totals.failed,
            requests_per_min=float(totals.sent_last_minute),
            rate_per_min=limits.rate_per_min,
            seconds_left=left,
            binding=binding,
            waiting=self._waiting(totals, now),
            quotas=tuple(
                QuotaStatus(
                    name=name,
                    period=period,
                    used=state.used + state.overrun,
                    reserved=state.reserved,
                    allotted=state.allotted,
                )
                for (name, period), state in sorted(quotas.items())
            ),
            errors=totals.errors,
            expanding=not row.is_expanded,
        )

    def _waiting(self, totals: Totals, now: float) -> tuple[Waiting, ...]:
        found = []
        for name, counts in sorted(totals.lanes.items()):
            jobs = counts[State.PENDING] + counts[State.WAITING]
            if not jobs:
                continue
            why, until = "its turn", None
            if self._scheduler is not None and name in self._scheduler.lanes.lanes:
                lane = self._scheduler.lanes.lanes[name]
                wakes_at = lane.wakes_at(now, share=self._scheduler.lanes.share)
                if lane.block is not None or wakes_at > now:
                    why = lane.why or "a free slot"
                    until = wakes_at if now < wakes_at < float("inf") else None
            found.append(Waiting(lane=name, why=why, jobs=jobs, until=until))
        return tuple(found)

    def _account(self) -> str:
        return _account(self.sweep.service(self._engine.clock))

    async def rows(self) -> AsyncIterator[Row]:
        """One row per cell, in the order the cells were asked for; read page by page."""
        async for row in rows(self._store.job_rows(self._row.id), self.sweep.kind.folded_field):
            yield row

    async def pause(self) -> None:
        """Have every process that works on the run start nothing more; `unpause` or execute goes on."""
        await self._store.set_state(
            self._row.id, RunState.PAUSED, reason=StopReason.PAUSED, message="paused"
        )

    async def unpause(self) -> None:
        """Let the run be worked on again."""
        await self._store.set_state(self._row.id, RunState.ACTIVE)

    async def cancel(self) -> int:
        """Cancel what is not answered yet and keep what is; returns how many jobs were cancelled."""
        await self._store.set_state(
            self._row.id,
            RunState.CANCELLED,
            reason=StopReason.CANCELLED,
            message="cancelled; `nightsweep retry --cancelled` puts its jobs back in line",
        )
        return await self._store.cancel(self._row.id)

    async def retry(self, *, failed: bool = True, cancelled: bool = False) -> int:
        """Put failed or cancelled jobs back in line with fresh attempts; returns how many."""
        states = [State.FAILED] * failed + [State.CANCELLED] * cancelled
        count = await self._store.requeue(self._row.id, states)
        if count:
            await self._store.set_state(self._row.id, RunState.ACTIVE)
        return count


_OPEN = (State.PENDING, State.WAITING, State.RUNNING)


class _Context:
    """What the engine lends to a running job."""

    def __init__(self, store: Store, clock: Clock, run_id: int) -> None:
        self._store = store
        self._run_id = run_id
        self._clock = clock

    @property
    def clock(self) -> Clock:
        return self._clock

    async def permit(self, name: str, *, rate_per_min: int) -> None:
        bucket = Bucket(name=f"permit {name}", rate_per_min=rate_per_min)
        while (at := await self._store.take_permit(bucket)) > self._clock.now():
            await self._clock.sleep(at - self._clock.now())

    async def cached(self, key: Mapping[str, Any], call: Callable[[], Awaitable[bytes]]) -> bytes:
        kept = await self._store.kept_call(self._run_id, key)
        if kept is not None:
            return kept
        response = await call()
        # Paid for: it is kept even if the job is being cancelled.
        await self._store.keep_call(self._run_id, key, response)
        return response


async def settle_groups(sweep: Sweep, clock: Clock | None = None) -> Sweep:
    """The sweep with `groups: all` pinned to what its service offers; itself if it names its groups."""
    if not sweep.groups_pending:
        return sweep
    async with sweep.service(clock or SystemClock()) as service:
        return sweep.with_groups([group.name for group in await service.groups()])


async def check(sweep: Sweep, clock: Clock | None = None) -> Sequence[Finding]:
    """Whether a sweep could be run: service, key, quota, group names, health of each model.

    Sends nothing that costs. Problems are findings, not exceptions.
    """
    clock = clock or SystemClock()
    findings: list[Finding] = []
    try:
        async with sweep.service(clock) as service:
            findings += await service.check()
            findings += await _check_groups(sweep, service)
    except (JobError, UsageError) as error:
        return [*findings, Finding(name="service", ok=False, message=str(error))]
    gate = sweep.health_gate(clock)
    if gate is None:
        return findings
    try:
        async with gate:
            for lane in sorted(sweep.plan().lanes):
                try:
                    health = await gate.check(lane)
                except JobError as error:
                    findings.append(Finding(name=f"health {lane}", ok=False, message=str(error)))
                    continue
                message = health.message or ("healthy" if health.healthy else "unhealthy")
                findings.append(Finding(name=f"health {lane}", ok=health.healthy, message=message))
    except UsageError as error:
        findings.append(Finding(name="health", ok=False, message=str(error)))
    return findings


async def _check_groups(sweep: Sweep, service: Service) -> list[Finding]:
    """Whether the service knows the groups that the sweep names."""
    offered = {group.name for group in await service.groups()}
    unknown = [name for name in sweep.groups() if name not in offered]
    if not offered or not sweep.groups():
        return []
    if not unknown:
        return [Finding(name="sweep's groups", ok=True, message="all are offered")]
    message = "; ".join(f"{name} is not offered{suggestion(name, offered)}" for name in unknown)
    return [Finding(name="sweep's groups", ok=False, message=message)]


def _kind_of(service: Service, sweep: Sweep) -> Any:
    """The opened service's own kind: it holds the connections that the sweep's does not."""
    [kind] = [
        kind
        for kind in service.kinds()
        if (kind.name, kind.target) == (sweep.evaluation, sweep.target)
    ]
    return kind


def _account(service: Service) -> str:
    return f"{service.identity} {service.credential}".strip()


async def _outside_group(work: Callable[[], Awaitable[T]]) -> T:
    """Raise what a task group raises as itself when it is one error alone."""
    try:
        return await work()
    except BaseExceptionGroup as group:
        errors: list[BaseException] = [group]
        while len(errors) == 1 and isinstance(errors[0], BaseExceptionGroup):
            errors = list(errors[0].exceptions)
        if len(errors) == 1:
            raise errors[0] from None
        raise
