"""Single jobs of a run and its event log, for finding out why it is stuck."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping

from anyio import to_thread
from sqlalchemy.engine import Connection

from engine.core.inspection import EventFilter
from engine.core.runs import Event
from engine.core.states import State
from engine.store import leftovers
from engine.store.database import Database
from engine.store.queries import events, inspection
from engine.store.queries.conditions import LabelLike
from engine.store.queries.inspection import JobHistory, KnownJob
from engine.store.queries.runs import RunRow

_EVENTS_A_PAGE = 1_000
ALL_EVENTS = EventFilter()


class Inspection:
    """Answers questions about single jobs and about events; each answer comes from one snapshot.

    Iterators read one page per snapshot. All methods raise StoreError if the database cannot be read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest_events(
        self, run_id: int, wanted: EventFilter = ALL_EVENTS, *, limit: int = 100
    ) -> list[Event]:
        """The latest events of a run that match, at most `limit`, the oldest of them first.

        `wanted.since` is inclusive, `wanted.until` exclusive.
        """
        return await self._database.ask(
            lambda connection: events.find_latest(connection, run_id, wanted, limit=limit)
        )

    async def events_after(self, run_id: int, wanted: EventFilter, after: int) -> list[Event]:
        """The first 1,000 matching events of a run after the one with the id `after`, the oldest first.

        Pass the last id that was returned to read on; an empty list means that there is nothing newer yet.
        """
        return await self._database.ask(
            lambda connection: events.find_after(
                connection, run_id, wanted, after=after, limit=_EVENTS_A_PAGE
            )
        )

    def jobs(
        self,
        of: RunRow,
        states: Collection[State] = (),
        *,
        has_error: bool = False,
        past: bool = False,
        labels: Iterable[LabelLike] = (),
    ) -> AsyncIterator[KnownJob]:
        """Yield the jobs of a run in the order of the file, each with its last attempt, read page by page.

        `states` selects jobs by state; empty for all. With `has_error`, only jobs with an error are read. With
        `past`, jobs that only earlier versions of the sweep asked for are included. Few jobs are read that do
        not meet the conditions on `labels`.
        """
        return inspection.jobs(
            self._database, of, states, has_error=has_error, past=past, labels=labels
        )

    async def find_jobs_by_name(
        self, name: str, run_id: int | None = None
    ) -> list[tuple[int, int]]:
        """Find the jobs that a name may mean, in one run or in all: (job id, run id), at most five.

        A name is the id of a job, or at least the first six hexadecimal digits of its key.
        """
        return await self._database.ask(
            lambda connection: inspection.find_by_name(connection, name, run_id)
        )

    async def find_job(self, of: RunRow, job_id: int) -> tuple[KnownJob, JobHistory] | None:
        """One job of a run with its history of attempts and answers, from one snapshot; None if the run has no such job."""

        def ask(connection: Connection) -> tuple[KnownJob, JobHistory] | None:
            found = inspection.find(connection, of, job_id)
            return None if found is None else (found, inspection.load_history(connection, job_id))

        return await self._database.ask(ask)

    async def find_answer_aside(self, job_id: int, workers: Mapping[int, str]) -> bytes | None:
        """Find the latest answer to a job that is only in a side file, as after a full disk.

        `workers` are the ids of the workers of its attempts, by the attempts' numbers. Returns its bytes, or
        None.
        """
        folder = self._database.side_files
        if folder is None:
            return None
        return await to_thread.run_sync(leftovers.find_answer, folder, job_id, workers)
