"""One run: executed here, looked at and steered from anywhere."""

import logging
import os
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from math import inf
from typing import Any, TypeVar

import anyio

from engine.clock import Clock
from engine.core.errors import Interrupted, JobError, StoreError, UsageError, is_of_store
from engine.core.inspection import EventFilter, JobDetails, JobFilter, JobInfo
from engine.core.layout import Edit, Layout, edit_of
from engine.core.loads import Load
from engine.core.model import Sends
from engine.core.retry import describe
from engine.core.rows import Row
from engine.core.runs import Event, EventKind, RunState, StopReason
from engine.core.states import State
from engine.core.status import Session, Status
from engine.core.values import ValueType
from engine.results.rows import RowRules, rows
from engine.scheduler import Assignment, Scheduler, Stop, quota_keys
from engine.session import inspection
from engine.session.context import Context, Counts
from engine.session.holdings import BATCH, new_job
from engine.session.identity import Identity
from engine.session.interrupts import notice_interrupts
from engine.session.look import Look, describe_account
from engine.session.requests import Requests
from engine.settings import Settings
from engine.slots import Slots
from engine.store import KeptLayout, RunRow, Store, refuse_if_deleting
from engine.sweep import Sweep

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ASK_AGAIN_S = 60.0
"""How long after a question that a service did not answer."""


class Run:
    """One run in a store: executed in this process, and read and controlled from any.

    `Engine.submit` and `Engine.run` return it. `name` is the run's name and `sweep` what it asks for. Methods
    that look the run up raise UsageError once it is deleted or renamed.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        row: RunRow,
        sweep: Sweep,
        executing: set[int],
    ) -> None:
        self.name = row.name
        self.sweep = sweep
        self._store = store
        self._clock = clock
        self._settings = settings
        self._row = row
        # The runs that this process executes, by whichever of its Runs.
        self._executing = executing
        self._scheduler: Scheduler | None = None
        self._requests: Requests | None = None
        self._stopping = False
        # Ends the waiting for a full disk.
        self._relent: Callable[[], None] | None = None
        self._shares_limits = False
        """Whether other processes know that the run is executed here, and keep to its limits."""
        # When the last execution here began, and what it has asked for since.
        self._counts: Counts | None = None

    @property
    def was_paused(self) -> bool:
        """Whether the run was paused when it was looked up; executing it continues it."""
        return self._row.state is RunState.PAUSED

    async def execute(self) -> Status:
        """Send everything that has no answer yet, until it is done or something stops the run.

        Returns the status at the end; its `reason` says why cells are left. Raises UsageError or StoreError
        if the run cannot be executed, StoreLost if its store vanishes, and IdentityChanged if something that
        decides its answers has changed since it began (see `accept`).

        If it is cancelled, jobs in flight are given back first. A Ctrl-C that asyncio.run or a notebook turns
        into a cancellation is raised as Interrupted, after a logged warning with the command that resumes the
        run.
        """
        with notice_interrupts() as interrupts:
            try:
                return await self._execute()
            except anyio.get_cancelled_exc_class():
                if self._stopping or not interrupts:
                    raise
                with anyio.CancelScope(shield=True):
                    told = await self._record_interrupt()
                if anyio.current_effective_deadline() == -inf:
                    raise  # of the task group that cancelled it
                raise Interrupted(told) from None
            finally:
                self._stopping = False
                await self._withdraw()

    async def _record_interrupt(self) -> str:
        """Write down that the run was interrupted, and say how to go on."""
        with suppress(StoreError):
            await self._conclude(Stop(reason=StopReason.INTERRUPTED, message="interrupted"))
        named = ["--", self.name] if self.name.startswith("-") else [self.name]
        command = shlex.join(["nightsweep", "resume", "--store", str(self._store.path), *named])
        told = f"{self.name} was interrupted; go on with: {command}"
        logger.warning("%s", told)
        return told

    async def _execute(self) -> Status:
        await self._find_row()
        async with AsyncExitStack() as stack:
            service, kind, gate = self.sweep.service, self.sweep.kind, self.sweep.health_gate
            client = await stack.enter_async_context(service.open(self._clock))
            identity = Identity(self.sweep)
            ask_health = None
            if gate is not None:
                gate_client = await stack.enter_async_context(gate.open(self._clock))
                ask_health = partial(gate.check, gate_client)
            await self._store.runs.record_facts(self.name, identity.facts)
            accounts = await self._store.limits.accounts()
            account = accounts.name(service.address, service.key)
            told = describe_account(service)
            await self._take_up(account, told)
            logger.info(
                "%s: worker %s, process %d, works on it in %s",
                self.name,
                self._store.worker_id,
                os.getpid(),
                self._store.path,
            )
            self._counts = counts = Counts(began_at=self._clock.now())
            requests = None
            if kind.sends is Sends.CALLS:
                requests = Requests(self._store, self._clock, self._row, account, self.sweep.limits)
            slots = Slots(
                self._clock, self._store.limits, f"{self._store.worker_id} {self._row.id}"
            )
            scheduler = Scheduler(
                self._store,
                self._clock,
                self._settings,
                Assignment(
                    run_id=self._row.id,
                    run=self.name,
                    kind=kind,
                    client=client,
                    limits=self.sweep.limits,
                    retry=self.sweep.retry,
                    unanswered=self.sweep.unanswered,
                    costs_of=costs_of(self._row.identity, self._row.evaluation, self._row.target),
                    account=account,
                    told_account=told,
                    documents=self.sweep.documents(),
                    provenance=identity.of,
                    context_of=Context.of_run(
                        self._store,
                        self._clock,
                        self._row,
                        slots,
                        counts,
                        accounts=accounts,
                        requests=requests,
                        reuses=self.sweep.reuse,
                        heard=self._hear,
                        reported=self._report_progress,
                        quotas=partial(quota_keys, kind, self.sweep.limits, self.name, account)
                        if kind.charged_by_reply
                        else None,
                    ),
                    ask_health=ask_health,
                    ask_quota=partial(service.quota, client),
                    ask_key=partial(service.accepts_key, client),
                ),
            )
            counts.progress = scheduler.progress
            self._scheduler, self._requests = scheduler, requests
            if self._stopping:
                self.stop()
            self._executing.add(self._row.id)
            self._shares_limits = True
            try:
                with self._store.worker.retrying_commits() as self._relent:
                    stop = await _outside_group(
                        lambda: self._work(scheduler, slots, requests, identity, client, counts)
                    )
            except Exception as error:
                if not (self._stopping and self._store.trouble and is_of_store(error)):
                    raise
                stop = Stop(reason=StopReason.INTERRUPTED, message="interrupted")
            finally:
                self._scheduler, self._requests = None, None
                self._executing.discard(self._row.id)
        try:
            await self._conclude(stop)
        except StoreError:
            if stop is None or self._store.trouble is None:
                raise
            # The disk is still full: where the run stands is known here alone.
            status = await self.status()
            return replace(status, reason=stop.reason, message=stop.message)
        return await self.status()

    async def _withdraw(self) -> None:
        """Tell other processes that the run is no longer executed here: they have read why it ended by now."""
        if not self._shares_limits:
            return
        self._shares_limits = False
        with anyio.CancelScope(shield=True), suppress(StoreError):
            await self._store.limits.release(self._row.id)

    def _session(self) -> Session | None:
        counts = self._counts
        if counts is None:
            return None
        return Session(
            began_at=counts.began_at,
            attempts=counts.attempts,
            calls=counts.calls,
            replies_kept=counts.progress.kept,
            replies_asked=counts.replies_asked,
        )

    def _hear(self, lane: str) -> None:
        if self._scheduler is not None:
            self._scheduler.note_reply(lane)

    def _report_progress(self, job_id: int, answered: int, total: int, asked_now: int) -> None:
        if self._scheduler is not None:
            self._scheduler.report_progress(job_id, answered, total, asked_now)

    async def _work(
        self,
        scheduler: Scheduler,
        slots: Slots,
        requests: Requests | None,
        identity: Identity,
        client: Any,
        counts: Counts,
    ) -> Stop | None:
        expanding = (
            nullcontext() if self._row.is_expanded else self._store.matrix.expanding(self._row)
        )
        with expanding:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._store.worker.run_until_lost, slots.share, name="share slots")
                if requests is not None:
                    tell = partial(requests.tell, lambda: scheduler.jobs_in_flight)
                    tasks.start_soon(self._store.worker.run_until_lost, tell, name="tell requests")
                if not self._row.is_expanded:
                    scheduler.expanding = True
                    expand = partial(self._expand, scheduler, identity, client)
                    tasks.start_soon(self._store.worker.run_until_lost, expand, name="expand")
                stop = await scheduler.run()
                tasks.cancel_scope.cancel()
        return stop

    async def _expand(self, scheduler: Scheduler, identity: Identity, client: Any) -> None:
        """Write the matrix into the queue, batch by batch, while the first jobs already run."""
        row, since = self._row, self._clock.now()
        kept = await self._store.reader.layout(row) if row.generation > 1 else None
        sweep, layout = (await self._prepare(client)).assign_ranks(
            None if kept is None else kept.layout, is_new=row.generation == 1
        )
        edit = await self._edit(sweep, kept, layout)
        if edit is not None:
            await self._store.matrix.begin_edit(row, edit)
            await scheduler.refresh()
        await self._store.matrix.add_documents(self.sweep.documents())
        reuse = self.sweep.reuse and await self._store.reader.has_other_runs(row)
        specs = sweep.jobs(row.identity, edit)
        jobs = (new_job(sweep, spec, identity.of(spec.labels)) for spec in specs)
        while batch := list(islice(jobs, BATCH)):
            await self._store.matrix.add_jobs(
                row, batch, reuse=reuse, unanswered=self.sweep.unanswered
            )
            await scheduler.refresh()
        await self._store.matrix.finish_expansion(row, self._layout_to_keep(layout, since))
        logger.info("%s: its jobs were written in %.1f s", self.name, self._clock.now() - since)
        scheduler.expanding = False
        await scheduler.refresh()

    def _layout_to_keep(self, layout: Layout | None, since: float) -> KeptLayout | None:
        """What the next edit is compared with; None if the matrix has no layout."""
        if layout is None:
            return None
        return KeptLayout(
            generation=self._row.generation,
            since=since,
            unanswered=self.sweep.unanswered,
            layout=layout,
        )

    async def _edit(
        self, sweep: Sweep, kept: KeptLayout | None, layout: Layout | None
    ) -> Edit | None:
        """What the sweep changes of the one that was wholly written out last; None: all is to be compared.

        So it is after another edit that was cut short, where everything is asked again, and where other runs
        may have answers that serve here and were not taken over.
        """
        row = self._row
        if kept is None or layout is None or kept.generation != row.generation - 1:
            return None
        if (row.fresh_generation or 0) > kept.generation:
            return None
        if sweep.reuse:
            since = kept.since if kept.unanswered == sweep.unanswered else None
            if await self._store.reader.has_other_runs(row, since=since):
                return None
        return edit_of(sweep.matrix, kept.layout, layout)

    async def _prepare(self, client: Any) -> Sweep:
        """The sweep with a kind that knows how its cells fold.

        A service that cannot be asked now is asked again: jobs that were made without its answer might
        send more than it takes.
        """
        while self.sweep.fold == "exact":
            try:
                return replace(self.sweep, kind=await self.sweep.kind.prepare(client))
            except JobError as error:
                message = f"asked again in {_ASK_AGAIN_S:g} s how cells fold: {describe(error)}"
                await self._store.runs.add_event(self._row.id, EventKind.SERVICE, message)
            await self._clock.sleep(_ASK_AGAIN_S)
        return self.sweep

    async def _conclude(self, stop: Stop | None) -> None:
        if stop is None:
            row = await self._find_row()
            # Cancelled by somebody while the last requests came in, it stays cancelled; with another
            # sweep that nobody has written out yet, there is more to do.
            await self._store.runs.set_state(
                self._row.id,
                RunState.FINISHED if row.is_expanded else RunState.ACTIVE,
                message=""
                if row.is_expanded
                else "the sweep was changed meanwhile; `nightsweep resume` continues with the new one",
                unless=(RunState.CANCELLED,),
            )
        elif stop.reason is StopReason.CANCELLED:
            await self._cancel_open()
        else:
            await self._store.runs.set_state(
                self._row.id,
                RunState.PAUSED if stop.reason is StopReason.PAUSED else RunState.ACTIVE,
                reason=stop.reason,
                message=stop.message,
                resume_at=stop.resume_at,
                unless=(RunState.CANCELLED,),
            )
            await self._store.runs.add_event(self._row.id, EventKind(stop.reason), stop.message)

    async def accept(self) -> None:
        """Let the run continue with the current cases, judge and settings; existing answers are kept.

        Raises IdentityChanged if the judge has changed and the run has answers: use `Engine.rejudge`, which
        judges their replies again in a run of its own.
        """
        await self._store.runs.record_facts(self.name, Identity(self.sweep).facts, accepts=True)

    def stop(self) -> None:
        """Start nothing more: requests in flight have `Settings.grace_s` seconds, then `execute` returns.

        Requests that take longer are given back with their attempts, and sent again when the run is resumed.
        """
        self._stopping = True
        if self._relent is not None:
            self._relent()
        if self._scheduler is not None:
            self._scheduler.stop(StopReason.INTERRUPTED, "interrupted")

    async def status(self) -> Status:
        """Count the run's jobs, cells and tests, and find out what it waits for.

        Everything is counted from the rows of the store, so it is right after a crash, and in any process.
        Questions in flight are known only to the process that asks them.
        """
        row = await self._find_row()
        unattended = not await self._is_executed(row)
        look = Look(
            self._store,
            self.sweep,
            row,
            self._scheduler,
            self._requests,
            self._loads,
            self._clock.now(),
            self._session(),
        )
        return await look.status(unattended=unattended)

    async def _is_executed(self, row: RunRow) -> bool:
        return row.id in self._executing or await inspection.is_executed_elsewhere(self._store, row)

    @cached_property
    def _loads(self) -> Mapping[str, Load]:
        """What jobs send in all, where that is more than themselves: counted once."""
        if self.sweep.kind.sends is not Sends.CALLS:
            return {}
        try:
            return self.sweep.loads()
        except UsageError:
            # Such as a group whose file has gone: only how long it will take is not known then.
            return {}

    async def _find_row(self) -> RunRow:
        row = await self._store.reader.find_run(self.name)
        if row is None or row.id != self._row.id:
            raise UsageError(f"the run {self.name!r} was deleted or renamed")
        refuse_if_deleting(row)
        return row

    async def rows(self, *, past: bool = False) -> AsyncIterator[Row]:
        """Yield one row for each cell that the sweep asks for, in the order of the file, read page by page.

        With `past`, also the cells that only an earlier version of the sweep asked for, whose `asked` is
        False. `asked` is None where it is unknown because a changed sweep is not completely written yet.
        Raises UsageError at the end if the run was deleted meanwhile: then rows may be missing.
        """
        jobs = self._store.reader.job_rows(await self._find_row(), past=past)
        rules = RowRules(
            folded_field=self.sweep.kind.folded_field,
            unanswered=self.sweep.unanswered,
            names=self.sweep.matrix.document_labels(),
        )
        async for row in rows(jobs, rules, past=past):
            yield row
        await self._find_row()

    async def value_columns(self) -> Mapping[str, ValueType]:
        """The names of all `Row.values` of the run in alphabetical order, each with its type.

        The type is int, float, bool or str: float for a mixture of integers and floats, and str for any other
        mixture.
        """
        return await self._store.reader.value_columns((await self._find_row()).id)

    async def note(self, kind: str, message: str) -> None:
        """Add a line to the run's event log: `kind` is an EventKind or a word of your own."""
        await self._store.runs.add_event(self._row.id, kind, message)

    async def events(
        self,
        *,
        kinds: Sequence[str] = (),
        lane: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """The latest events of the run that match, at most `limit`, the oldest of them first.

        `kinds` are EventKinds or words of a job kind's own; none means all. `lane` is a pattern with `*` and
        `?`. `since` and `until` are seconds since the Unix epoch.
        """
        wanted = EventFilter(kinds=tuple(kinds), lane=lane, since=since, until=until)
        return await self._store.reader.latest_events(self._row.id, wanted, limit=limit)

    async def all_events(
        self, wanted: EventFilter | None = None, *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[Event]:
        """Yield the events of the run that match `wanted`, the oldest first, read page by page.

        `after` is the `id` of the last event that is already known. With `follow`, new events are yielded as
        well, looked up every `Settings.poll_s` seconds until no process works on the run any more. Raises
        UsageError if the run is deleted meanwhile.
        """
        wanted = wanted or EventFilter()
        while True:
            row = await self._find_row()
            # Looked up before the events are: what was written last is among them.
            is_last = not (follow and await self._is_executed(row))
            async for event in inspection.events(self._store, row, wanted, after=after):
                after = event.id
                yield event
            if is_last:
                return
            await self._clock.sleep(self._settings.poll_s)

    async def jobs(self, wanted: JobFilter | None = None) -> AsyncIterator[JobInfo]:
        """Yield the run's jobs that a filter selects, by default all, in the order of the file, page by page.

        Raises UsageError if `wanted.where` names an axis that the run does not have.
        """
        row = await self._find_row()
        async for one in inspection.jobs(self._store, self.sweep, row, wanted or JobFilter()):
            yield one

    async def job(self, name: int | str) -> JobDetails:
        """Everything that is known of one job: its attempts, its answer, and replies that could not be read.

        `name` is the job's `id`, or the first digits of its `key`, at least six. Raises UsageError if the run
        has no such job, or more than one.
        """
        row = await self._find_row()
        job_id, _ = await inspection.find_job(self._store, str(name), row)
        return await inspection.details(self._store, self.sweep, row, job_id)

    async def pause(self) -> None:
        """Let every process that works on the run start nothing more, and end.

        Processes notice within `Settings.poll_s` seconds, and their requests in flight finish. `unpause` or
        `execute` continues the run. A finished or cancelled run is not changed.
        """
        await self._find_row()
        await self._store.runs.set_state(
            self._row.id,
            RunState.PAUSED,
            reason=StopReason.PAUSED,
            message="paused; `nightsweep resume` continues it",
            unless=(RunState.FINISHED, RunState.CANCELLED),
        )

    async def unpause(self) -> None:
        """Make a paused run active again, without executing it.

        If a cancellation was interrupted, the remaining jobs are cancelled first. A finished or cancelled run
        without open jobs is not changed.
        """
        await self._take_up()

    async def _take_up(self, account: str | None = None, told: str = "") -> None:
        """Say that the run is worked on; where cancelling it was cut short, that is completed first."""
        if (await self._find_row()).state is RunState.CANCELLED:
            await self._cancel_open()
        await self._store.runs.activate(self._row.id, account, told)

    async def cancel(self) -> int:
        """Cancel all jobs without an answer and keep all answers; returns the number of jobs cancelled.

        A finished run stays finished. Many jobs are cancelled in parts: if this is interrupted, the run is
        cancelled and its message says that jobs remain, which `cancel` or `execute` cancels.
        """
        await self._find_row()
        await self._store.runs.set_state(
            self._row.id,
            RunState.CANCELLED,
            reason=StopReason.CANCELLED,
            message="not all of its jobs are cancelled yet; `nightsweep cancel` again cancels the rest",
            unless=(RunState.FINISHED,),
        )
        return await self._cancel_open()

    async def _cancel_open(self) -> int:
        count = await self._store.queue.cancel(self._row.id)
        await self._store.runs.set_state(
            self._row.id,
            RunState.CANCELLED,
            reason=StopReason.CANCELLED,
            message="cancelled; `nightsweep retry --cancelled` puts its jobs back in line",
            unless=[state for state in RunState if state is not RunState.CANCELLED],
        )
        return count

    async def retry(
        self, *, failed: bool = True, cancelled: bool = False, unanswered: bool = False
    ) -> int:
        """Put jobs back into the queue, with all their attempts; returns the number of jobs.

        `failed`, `cancelled` and `unanswered` select which; `unanswered` are jobs whose answer lacks
        questions, which is kept until there is a new one. Many jobs are put back in parts: if this is
        interrupted, the run is active and its message says that jobs remain. Nothing is sent before
        `execute`.
        """
        states = [
            *[State.FAILED] * failed,
            *[State.CANCELLED] * cancelled,
            *[State.SUCCEEDED] * unanswered,
        ]
        await self._find_row()
        return await self._store.queue.requeue(self._row.id, states)


def costs_of(identity: str, evaluation: str, target: str) -> str:
    """Under which name the store keeps what answers cost."""
    return f"{identity} {evaluation} {target}"


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
