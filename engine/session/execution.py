"""One execution of a run: its clients, its scheduler, and the tasks that work until it stops."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import anyio

from engine.clock import Clock
from engine.core.accounts import Accounts
from engine.core.model import Sends
from engine.core.progress import AttemptProgress
from engine.scheduler import Assignment, Scheduler, Stop, quota_keys
from engine.session.context import Context, Counts
from engine.session.expansion import Expansion
from engine.session.identity import Identity, name_costs
from engine.session.opening import Clients
from engine.session.requests import Requests
from engine.settings import Settings
from engine.slots import Slots
from engine.store import Claimed, RunRow, Store
from engine.sweep import Sweep, describe_account

T = TypeVar("T")


class Execution:
    """One execution of a run in this process.

    `account` names whose rate and quota it uses, `accounts` those of its jobs' own calls. At most `slots` jobs are
    in flight, as far as the sweep's limits allow so many.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        row: RunRow,
        sweep: Sweep,
        *,
        identity: Identity,
        clients: Clients,
        accounts: Accounts,
        account: str,
        slots: int | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._row = row
        self._sweep = sweep
        self._identity = identity
        self._clients = clients
        self._slots = Slots(clock, store.limits, f"{store.worker_id} {row.id}")
        self.counts = Counts(began_at=clock.now())
        self.requests: Requests | None = None
        if sweep.kind.sends is Sends.CALLS:
            self.requests = Requests(store, clock, row, account, sweep.limits)
        self.scheduler = Scheduler(
            store, clock, settings, self._assignment(accounts, account, slots)
        )
        self.counts.progress = self.scheduler.progress

    def _assignment(self, accounts: Accounts, account: str, slots: int | None) -> Assignment:
        row, sweep, clients = self._row, self._sweep, self._clients
        service, gate = sweep.service, sweep.health_gate
        return Assignment(
            run_id=row.id,
            run=row.name,
            kind=sweep.kind,
            client=clients.service,
            limits=sweep.limits,
            retry=sweep.retry,
            unanswered=sweep.unanswered,
            costs_of=name_costs(row.identity, row.evaluation, row.target),
            account=account,
            account_label=describe_account(service),
            documents=sweep.documents(),
            provenance=self._identity.of,
            context_of=self._make_contexts(accounts, account),
            ask_health=None if gate is None else partial(gate.check, clients.gate),
            ask_quota=partial(service.quota, clients.service),
            ask_key=partial(service.accepts_key, clients.service),
            slots=slots,
        )

    def _make_contexts(self, accounts: Accounts, account: str) -> Callable[[Claimed], Context]:
        kind, limits = self._sweep.kind, self._sweep.limits
        quotas = None
        if kind.charged_by_reply:
            quotas = partial(quota_keys, kind, limits, self._row.name, account)
        return Context.of_run(
            self._store,
            self._clock,
            self._row,
            self._slots,
            self.counts,
            accounts=accounts,
            requests=self.requests,
            reuses=self._sweep.reuse,
            on_reply=self._note_reply,
            on_progress=self._report_progress,
            quotas=quotas,
        )

    # Both are called while jobs run: the scheduler is there by then.
    def _note_reply(self, lane: str) -> None:
        self.scheduler.note_reply(lane)

    def _report_progress(self, progress: AttemptProgress, asked_now: int) -> None:
        self.scheduler.report_progress(progress, asked_now)

    async def work(self) -> Stop | None:
        """Work on the run's jobs until all are done, which is None, or until it stops."""
        row, matrix = self._row, self._store.matrix
        with nullcontext() if row.is_expanded else matrix.expanding(row):
            return await _unwrap_errors(self._run_tasks)

    async def _run_tasks(self) -> Stop | None:
        run_until_lost = self._store.worker.run_until_lost
        scheduler, requests = self.scheduler, self.requests
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_until_lost, self._slots.share, name="share slots")
            if requests is not None:
                publish = partial(requests.publish, lambda: scheduler.jobs_in_flight)
                tasks.start_soon(run_until_lost, publish, name="publish requests")
            if not self._row.is_expanded:
                scheduler.expanding = True
                write_jobs = partial(self._expansion().write_jobs, scheduler)
                tasks.start_soon(run_until_lost, write_jobs, name="expand")
            if self._row.requeueing is not None:
                scheduler.requeueing = True
                tasks.start_soon(run_until_lost, self._complete_requeueing, name="requeue")
            stop = await scheduler.run()
            tasks.cancel_scope.cancel()
        return stop

    async def _complete_requeueing(self) -> None:
        """Put back what a `retry` that was interrupted has left, beside the jobs that are sent."""
        await self._store.queue.complete_requeueing(self._row)
        self.scheduler.requeueing = False
        await self.scheduler.refresh()

    def _expansion(self) -> Expansion:
        return Expansion(
            self._store,
            self._clock,
            self._row,
            self._sweep,
            self._identity,
            self._clients.service,
        )


async def _unwrap_errors(work: Callable[[], Awaitable[T]]) -> T:
    """Raise an exception group that holds a single error as that error."""
    try:
        return await work()
    except BaseExceptionGroup as group:
        errors: list[BaseException] = [group]
        while len(errors) == 1 and isinstance(errors[0], BaseExceptionGroup):
            errors = list(errors[0].exceptions)
        if len(errors) == 1:
            raise errors[0] from None
        raise
