"""A store on an open database: a reader, a worker with its writer, and what changes it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from engine.clock import Clock
from engine.core.errors import Interrupted, StoreError
from engine.core.status import Backup
from engine.store.changes.attempts import AttemptChanges
from engine.store.changes.in_parts import PartWriter
from engine.store.changes.limits import LimitChanges
from engine.store.changes.matrix import MatrixWriter
from engine.store.changes.queue import QueueChanges
from engine.store.changes.removal import Removal
from engine.store.changes.runs import RunChanges
from engine.store.database import Database
from engine.store.reader import StoreReader
from engine.store.worker import Worker


class Store:
    """An open store: questions are asked of its reader, changes go through the writer of its worker."""

    def __init__(self, database: Database, clock: Clock, *, commit_interval_s: float) -> None:
        self._database = database
        self._clock = clock
        reader = StoreReader(database, clock)
        self._worker = worker = Worker(database, clock, reader, commit_interval_s=commit_interval_s)
        self._writer = writer = worker.writer
        parts = PartWriter(database, clock, writer)
        runs = RunChanges(clock, writer)
        matrix = MatrixWriter(database, clock, writer, parts)
        queue = QueueChanges(clock, writer, worker, parts, matrix.reached)
        attempts = AttemptChanges(clock, writer)
        limits = LimitChanges(clock, writer, worker.id)
        removal = Removal(database, clock, writer, worker, parts)

        # What is asked
        self.find_run = reader.find_run
        self.runs = reader.runs
        self.fingerprint = reader.fingerprint
        self.documents = reader.documents
        self.preview = reader.preview
        self.survey = reader.survey
        self.has_calls = reader.has_calls
        self.layout = reader.layout
        self.has_other_runs = reader.has_other_runs
        self.queues = reader.queues
        self.has_open_jobs = reader.has_open_jobs
        self.answered_lanes = reader.answered_lanes
        self.peers = reader.peers
        self.quotas = reader.quotas
        self.is_quota_held = reader.is_quota_held
        self.quota_settled = reader.quota_settled
        self.costs = reader.costs
        self.lowest_rate = reader.lowest_rate
        self.limited = reader.limited
        self.totals = reader.totals
        self.totals_before = reader.totals_before
        self.usage = reader.usage
        self.requests_last_minute = reader.requests_last_minute
        self.past_cells = reader.past_cells
        self.taken_over = reader.taken_over
        self.job_rows = reader.job_rows
        self.value_columns = reader.value_columns
        self.raw_answer = reader.raw_answer
        self.latest_events = reader.latest_events
        self.events_after = reader.events_after
        self.jobs = reader.jobs
        self.jobs_named = reader.jobs_named
        self.job = reader.job
        self.answer_aside = reader.answer_aside
        self.unsettled_lanes = reader.unsettled_lanes
        self.accepted = reader.accepted
        self.kept_call = reader.kept_call
        self.log_held = reader.log_held
        self.other_workers = reader.other_workers
        self.workers_on = reader.workers_on

        # Being one of its workers
        self.serve = writer.run
        self.refuse_if_lost = worker.refuse_if_lost
        self.while_there = worker.while_there
        self.lanes_elsewhere = worker.lanes_elsewhere
        self.stuck = worker.stuck
        self.insisting = worker.insisting
        self.keep_time = worker.keep_time
        self.between_commits = worker.between_commits
        self.take_in = worker.take_in
        self.break_off_when_cancelled = worker.break_off_when_cancelled
        self.sign_off = worker.sign_off
        self.is_alone = worker.is_alone
        self.beat = worker.beat
        self.reclaim_from_dead = worker.reclaim_from_dead

        # Runs
        self.begin = runs.begin
        self.keep_to = runs.keep_to
        self.take_up = runs.take_up
        self.set_state = runs.set_state
        self.rename_run = runs.rename_run
        self.note = runs.note

        # Their matrix
        self.add_documents = matrix.add_documents
        self.add_jobs = matrix.add_jobs
        self.begin_edit = matrix.begin_edit
        self.expanding = matrix.expanding
        self.finish_expansion = matrix.finish_expansion

        # Their queue
        self.claim = queue.claim
        self.claiming_along = queue.claiming_along
        self.settle = queue.settle
        self.cancel = queue.cancel
        self.requeue = queue.requeue
        self.tell_lanes = queue.tell_lanes
        self.follow_clock = queue.follow_clock

        # Attempts that are under way
        self.keep_unread = attempts.keep_unread
        self.hold_more = attempts.hold_more
        self.keep_usage = attempts.keep_usage
        self.keep_call = attempts.keep_call

        # Limits
        self.accounts = limits.accounts
        self.give_limits = limits.give_limits
        self.withdraw = limits.withdraw
        self.take_start = limits.take_start
        self.take_permits = limits.take_permits
        self.tell_requests = limits.tell_requests
        self.take_slots = limits.take_slots
        self.settle_permit = limits.settle_permit
        self.refresh_quota = limits.refresh_quota
        self.expect_quota = limits.expect_quota
        self.forget_quota = limits.forget_quota
        self.begin_period = limits.begin_period
        self.take_request = limits.take_request
        self.give_request_back = limits.give_request_back
        self.cap_quota = limits.cap_quota

        # Removing
        self.delete_run = removal.delete_run
        self.prune = removal.prune

    @property
    def path(self) -> Path:
        """The store as messages and commands name it."""
        return self._database.path

    @property
    def worker_id(self) -> str:
        """Whose jobs those are that this opening claims; empty where the store is only read."""
        return self._worker.id

    @property
    def trouble(self) -> StoreError | None:
        """Why nothing can be committed at present, such as a full disk."""
        return self._writer.trouble

    @property
    def is_lost(self) -> bool:
        """Whether the store's file was removed, moved, replaced or overwritten: nothing may be sent any more.

        Every change then raises StoreLost; answers and replies go to a side file, and answers count as recorded.
        """
        return self._worker.is_lost

    async def back_up(self, target: Path | None = None) -> Backup:
        """Copy the store to a new file of mode 0600, which is there once it is whole and checked.

        Without a name it is put beside the store. Raises StoreError when the file is there already, or
        cannot be written. Cancelled, it leaves nothing behind.
        """
        return await self._database.back_up(target, self._clock.now())


@asynccontextmanager
async def serving(
    database: Database, clock: Clock, *, commit_interval_s: float
) -> AsyncIterator[Store]:
    """A store on an open database: it takes changes until the block ends, which signs its worker off.

    `commit_interval_s` is the least real time between two commits under load.
    """
    store = Store(database, clock, commit_interval_s=commit_interval_s)
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        # Cancelled while it starts, the writer would be waited for: only `sign_off` lets it end.
        with anyio.CancelScope(shield=True):
            await tasks.start(store.serve, name="writer")
        tasks.start_soon(store.break_off_when_cancelled, name="break off")
        try:
            await store.keep_time()
            yield store
        except (Exception, Interrupted) as error:
            # Raised again below, as itself and not as a group of one.
            raised = error
        finally:
            with anyio.CancelScope(shield=True):
                await store.sign_off()
    if raised is not None:
        raise raised
