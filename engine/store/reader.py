"""The questions that can be asked of a store; nothing here changes it."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.money import UsageTotal
from engine.core.policy import UnansweredPolicy
from engine.core.quota import Cost, QuotaState
from engine.core.runs import EventKind
from engine.core.states import State
from engine.core.status import ReusedAnswers
from engine.core.values import ValueType
from engine.store.database import Database
from engine.store.lookups import ReplyLookups
from engine.store.queries import (
    admission,
    answers,
    calls,
    counted_cells,
    documents,
    holdings,
    job_rows,
    layouts,
    queue,
    quotas,
    rates,
    recent_requests,
    reservations,
    results,
    runs,
    settled,
    shared_limits,
    totals,
    usage,
    workers,
)
from engine.store.queries.calls import KeptReply
from engine.store.queries.conditions import LabelLike
from engine.store.queries.counted_cells import CountedCells
from engine.store.queries.holdings import Holding
from engine.store.queries.job_rows import JobRow
from engine.store.queries.layouts import KeptLayout
from engine.store.queries.results import PastValue
from engine.store.queries.runs import ActiveRun, NewRun, RunFingerprint, RunRow
from engine.store.queries.settled import SettledPage
from engine.store.queries.totals import Totals
from engine.store.requests import NewJob, QuotaKey

_SETTLED_A_PAGE = 500


class StoreReader:
    """Answers questions about a store and never changes it.

    Each answer comes from one snapshot; iterators read one page per snapshot. All methods raise StoreError if
    the database cannot be read. `worker_id` is this process's worker, which counts of other workers leave
    out; it is empty if the store is only read.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.path = database.path
        self.worker_id = "" if database.identity is None else database.identity.id
        self._clock = clock
        self._database = database
        self._lookups = ReplyLookups(database)

    # Runs

    async def find_run(self, name: str | None) -> RunRow | None:
        """Find the run of a name; without one, the run that was used last.

        Returns None if there is no such run, or the store has none. Runs that are being deleted are found as
        well.
        """
        return await self._database.ask(lambda connection: runs.find(connection, name))

    async def runs(self) -> list[tuple[RunRow, Mapping[State, int]]]:
        """All runs, the last used first, each with the number of its jobs by state."""
        return await self._database.ask(results.find_runs)

    async def active_runs(self) -> list[ActiveRun]:
        """The active runs, the oldest first."""
        return await self._database.ask(runs.find_active)

    async def observe(self, run_id: int) -> tuple[RunFingerprint | None, list[tuple[str, float]]]:
        """The fingerprint of a run, and the other workers that may be alive, as in `find_other_workers`.

        The fingerprint differs once a process has changed the run or begun to work on the store; it is None once
        the run is deleted. Both are cheap enough to be read every second.
        """

        def ask(connection: Connection) -> tuple[RunFingerprint | None, list[tuple[str, float]]]:
            found = runs.find_fingerprint(connection, run_id)
            return found, workers.find_maybe_alive(connection, but=self.worker_id)

        return await self._database.ask(ask)

    async def documents(self, digests: Iterable[str]) -> dict[str, Any]:
        """The documents with these digests, as values of JSON, by digest; digests that the store lacks are left out."""
        return await self._database.ask(lambda connection: documents.find(connection, digests))

    async def preview(self, new: NewRun) -> RunRow:
        """The run as `RunChanges.begin` would create or update it, with id 0 for a new one.

        Raises UsageError or IdentityChanged as `begin` does.
        """
        now = self._clock.now()
        return await self._database.ask(lambda connection: runs.preview(connection, new, now=now))

    async def survey(
        self, of: RunRow, jobs: Sequence[NewJob], *, reuse: bool, unanswered: UnansweredPolicy
    ) -> list[tuple[Holding, str | None]]:
        """What the store has for each job of a batch, and the name of the run whose answer would be reused.

        The name is None if there is no such run, or if it was deleted. `reuse` and `unanswered` are those of
        the sweep; see `MatrixWriter.add_jobs`.
        """

        def ask(connection: Connection) -> list[tuple[Holding, str | None]]:
            found = holdings.survey(connection, of, jobs, reuse=reuse, unanswered=unanswered)
            sources = {one.source for one in found if one.source is not None}
            names = holdings.runs_of(connection, sources) if sources else {}
            return [(one, None if one.source is None else names[one.source]) for one in found]

        return await self._database.ask(ask)

    async def has_calls(self, of: RunRow, *, of_others: bool) -> bool:
        """Whether replies to calls are stored that a run could use again.

        If it asks everything again, only replies recorded since then count. With `of_others`, those of its
        service's other runs count, too.
        """
        return await self._database.ask(
            lambda connection: calls.has_any(connection, of, of_others=of_others)
        )

    async def layout(self, of: RunRow) -> KeptLayout | None:
        """The last matrix of a run that was completely in the queue, with which an edit is compared.

        None if it was not stored, as for a run of an earlier version; then all jobs are compared.
        """
        return await self._database.ask(lambda connection: layouts.load(connection, of))

    async def has_other_runs(self, of: RunRow, *, since: float | None = None) -> bool:
        """Whether there are other runs whose answers could be reused: those of the same service and identity.

        With `since`, in seconds since the epoch, only runs that were changed from then on or are active.
        """
        return await self._database.ask(
            lambda connection: runs.has_other_runs(connection, of, since=since)
        )

    # The queue

    async def queues(self, run_id: int) -> dict[str, tuple[str, ...]]:
        """The cost classes in which each lane of a run has claimable jobs, by lane.

        The time that it takes depends on the number of lanes and classes, not on that of jobs.
        """
        return await self._database.ask(lambda connection: results.find_queues(connection, run_id))

    async def has_open_jobs(self, run_id: int) -> bool:
        """Whether a run has a job that is pending, waiting or running."""
        return await self._database.ask(lambda connection: queue.has_open_jobs(connection, run_id))

    async def lanes_with_answers(self, run_id: int) -> list[str]:
        """The lanes of a run in which a job has succeeded, in any order."""
        return await self._database.ask(
            lambda connection: results.find_lanes_with_answers(connection, run_id)
        )

    async def count_peers(self, run_id: int) -> int:
        """The number of other workers that have jobs of a run in flight.

        A worker that died counts until its jobs are taken back.
        """
        return await self._database.ask(
            lambda connection: queue.count_peers(connection, run_id, but=self.worker_id)
        )

    # Limits

    async def quotas(self, keys: Iterable[QuotaKey]) -> dict[tuple[str, str], QuotaState]:
        """The quota rows of `keys`, by (name, period): tests used, reserved and allotted.

        Rows whose allotment is unknown are left out.
        """
        return await self._database.ask(lambda connection: quotas.find_known(connection, keys))

    async def is_quota_held(self, keys: Sequence[QuotaKey], *, besides: int) -> bool:
        """Whether jobs in flight of runs other than `besides` hold something under one of these quotas.

        Then a refusal by the service may be due to what they hold, and may end with them.
        """
        return await self._database.ask(
            lambda connection: reservations.is_held(connection, keys, besides=besides)
        )

    async def total_settled(self, key: QuotaKey) -> int:
        """The total cost of requests under a quota so far, for `SharedLimits.refresh_quota`.

        Read it before the service is asked, so that what is settled meanwhile is not lost.
        """
        return await self._database.ask(lambda connection: quotas.total_settled(connection, key))

    async def costs(self, service: str) -> Mapping[str, Cost]:
        """What answers of a service have cost so far, in tests, by cost class.

        A class that has had no answer is missing.
        """
        return await self._database.ask(
            lambda connection: admission.find_costs(connection, service)
        )

    async def lowest_rates(self, names: Iterable[str]) -> Mapping[str, int]:
        """The lowest rates per minute of all live processes, by name, which apply to all of them.

        Names without a rate are left out.
        """

        def find(connection: Connection) -> dict[str, int]:
            found = {}
            for name in names:
                rows = (name, f"{rates.RATE_PREFIX}{name}")
                rate, _ = shared_limits.find_lowest(connection, rows)
                if rate is not None:
                    found[name] = rate
            return found

        return await self._database.ask(find)

    # Results

    async def totals(self, run_id: int, threshold: float | None = None) -> Totals:
        """The totals of a run: jobs and cells by state, answers, errors, and requests of the last minute.

        Answers that can be evaluated at `threshold` are counted at that threshold, others at their own.
        """
        return await self._database.ask(
            lambda connection: totals.count(
                connection,
                run_id,
                now=self._clock.now(),
                worker_id=self.worker_id,
                threshold=threshold,
            )
        )

    async def counted_cells(self, run_id: int) -> list[CountedCells]:
        """The cells of a run, counted by their labels on the axes in `RunRow.grouped`, in any order.

        Outdated answers are counted, too. As many rows are read as there are different labels.
        """
        return await self._database.ask(lambda connection: counted_cells.find(connection, run_id))

    async def cells_answered_since(self, run_id: int, time: float) -> int:
        """The number of cells of a run that were answered by requests sent at `time` or later.

        Only cells that the sweep still asks for count; `time` is in seconds since the epoch.
        """
        return await self._database.ask(
            lambda connection: totals.count_answered_since(connection, run_id, time)
        )

    async def usage(self, run_id: int | None = None) -> tuple[UsageTotal, ...]:
        """The tokens and costs of the calls of a run, by role, endpoint and model.

        Those of all runs if `run_id` is None. `spendings` applies the user's prices to them.
        """
        return await self._database.ask(lambda connection: usage.sum_usage(connection, run_id))

    async def requests_last_minute(self, run_id: int, *, besides: str | None = None) -> int:
        """The number of requests that workers, except `besides`, started for a run in the last minute.

        Only kinds whose jobs send many requests record them.
        """
        return await self._database.ask(
            lambda connection: recent_requests.count_last_minute(
                connection, run_id, besides=besides, now=self._clock.now()
            )
        )

    async def past_cells(self, of: RunRow) -> int:
        """The number of cells that only earlier versions of a run's sweep asked for, answered or not."""
        if of.generation == 1:
            return 0
        return await self._database.ask(
            lambda connection: results.count_past_cells(connection, of.id)
        )

    async def answers_from_other_runs(self, run_id: int) -> tuple[ReusedAnswers, ...]:
        """The answers of a run that were reused from other runs, by the run that asked for them.

        The run with the most cells comes first; answers of runs that were deleted have the run None. Cells
        that the sweep no longer asks for are not counted.
        """
        return await self._database.ask(
            lambda connection: totals.answers_from_other_runs(connection, run_id)
        )

    async def value_columns(self, run_id: int) -> dict[str, ValueType]:
        """The names of all further values in the results of a run, in alphabetical order, with their columns' types.

        A column whose values have no common type is text; one of whole and other numbers is of float.
        """
        return await self._database.ask(
            lambda connection: results.value_columns(connection, run_id)
        )

    async def past_values(self, of: RunRow) -> list[PastValue]:
        """The values of jobs that the sweep of a run no longer asks for, or that its expansion has not reached yet.

        They are in no order; the sweep may have them, too. All these jobs are read.
        """
        return await self._database.ask(lambda connection: results.find_past_values(connection, of))

    def job_rows(
        self, of: RunRow, *, past: bool = False, labels: Iterable[LabelLike] = ()
    ) -> AsyncIterator[JobRow]:
        """Yield the jobs of a run with their results, in the order of the file, read page by page.

        With `past`, jobs that only earlier versions of the sweep asked for are included. Few jobs are read that
        do not meet the conditions on `labels`.
        """
        return job_rows.job_rows(self._database, of, past=past, labels=labels)

    def answers_of_jobs(
        self, of: RunRow, job_ids: Sequence[int]
    ) -> AsyncIterator[tuple[JobRow, bytes]]:
        """Yield these jobs of a run with the bytes of their answers, at most 500 or some 8 MB read at a time.

        Jobs that the sweep does not ask for, and those without an answer in the store, are left out.
        """
        return answers.answers_of_jobs(self._database, of, job_ids)

    def answers_with_failures(
        self, of: RunRow, *, past: bool = False, labels: Iterable[LabelLike] = ()
    ) -> AsyncIterator[tuple[JobRow, bytes]]:
        """Yield the jobs of a run whose answers have failed tests, with the bytes of these answers.

        They come in the order of the file. Jobs without an answer in the store, and those whose answer is
        outdated, are left out. With `past`, jobs that only earlier versions of the sweep asked for are included,
        outdated or not. Few jobs are read that do not meet the conditions on `labels`. At most 100 jobs, and
        some 8 MB of compressed answers, are read at a time.
        """
        return answers.answers_with_failures(self._database, of, past=past, labels=labels)

    def answers(
        self, of: RunRow, *, past: bool = False, labels: Iterable[LabelLike] = ()
    ) -> AsyncIterator[tuple[JobRow, bytes | None]]:
        """Yield all jobs of a run with the bytes of their answers, None for a job without an answer in the store.

        They come in the order of the file. With `past`, jobs that only earlier versions of the sweep asked for are
        included. Few jobs are read that do not meet the conditions on `labels`. At most 100 jobs, and some 8 MB of
        compressed answers, are read at a time.
        """
        return answers.answers(self._database, of, past=past, labels=labels)

    async def lanes_in_trouble(self, run_id: int) -> dict[str, EventKind]:
        """The lanes of a run with an outage or a refusal that has not ended: OUTAGE or REFUSED by the lane's name.

        By the log of events: the last one of these kinds in a lane decides.
        """
        return await self._database.ask(
            lambda connection: results.lanes_in_trouble(connection, run_id)
        )

    async def settled_jobs(self, of: RunRow, *, after: int) -> SettledPage:
        """The next jobs that were answered or failed after the entry with this id, in the order of their commits."""
        return await self._database.ask(
            lambda connection: settled.read_page(connection, of, after=after, limit=_SETTLED_A_PAGE)
        )

    async def count_answers_by_identity(self, run_id: int) -> dict[str, int]:
        """The number of answers to jobs that the run's sweep asks for, by `Row.identity`."""
        return await self._database.ask(
            lambda connection: results.count_answers_by_identity(connection, run_id)
        )

    async def find_accepted_changes(self, run_id: int) -> tuple[str, ...]:
        """The changes of what determines a run's answers that the user accepted, in words, the oldest first."""
        return await self._database.ask(
            lambda connection: results.find_accepted_changes(connection, run_id)
        )

    async def find_reply(
        self, of: RunRow, key: Mapping[str, Any], *, of_others: bool
    ) -> KeptReply | None:
        """The response stored under `key` and when it was recorded; None if there is none.

        The run's own response goes first. With `of_others`, the latest one in other runs of its service also counts.
        If the run asks everything again, only responses recorded since then count.
        """
        service = of.service if of_others else None
        return await self._lookups.find(of.id, calls.digest(key), service=service)

    # Workers

    async def check_log(self, above: int) -> tuple[int, str]:
        """The size of the database's log in bytes, and why it does not shrink.

        The text names the processes that prevent it if the size is `above` a number of bytes, and is empty
        otherwise.
        """
        return await self._database.check_log(above, self._clock)

    async def find_other_workers(self) -> list[tuple[str, float]]:
        """The other workers that may be alive: (id, time of the last heartbeat).

        A worker that was declared dead and came back is included while it holds jobs.
        """
        return await self._database.ask(
            lambda connection: workers.find_maybe_alive(connection, but=self.worker_id)
        )

    async def find_workers_on(self, run_id: int) -> list[tuple[str, float]]:
        """The other workers that hold jobs of a run, dead ones included.

        Each is given as (id, time of the last heartbeat in seconds since the epoch), in any order.
        """
        return await self._database.ask(
            lambda connection: workers.find_holders(connection, run_id, but=self.worker_id)
        )

    async def find_executors(self, run_id: int) -> list[tuple[str, float]]:
        """The other workers that execute a run or hold jobs of it, dead ones included.

        Each is given as (id, time of the last heartbeat in seconds since the epoch), in any order.
        """
        return await self._database.ask(
            lambda connection: workers.find_executors(connection, run_id, but=self.worker_id)
        )
