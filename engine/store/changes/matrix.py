"""Writing the matrix of a sweep into the queue, in batches."""

from array import array
from collections.abc import (
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.layout import Edit
from engine.core.policy import UnansweredPolicy
from engine.store.changes.in_parts import PartWriter
from engine.store.database import Database
from engine.store.queries import (
    documents,
    expansion,
    submission,
)
from engine.store.queries.layouts import KeptLayout
from engine.store.queries.runs import RunRow
from engine.store.requests import (
    NewJob,
)
from engine.store.writer import Writer

_UNANSWERED = UnansweredPolicy()


def _change_part(
    change: Callable[[Connection, RunRow, Sequence[int]], int],
    of: RunRow,
    connection: Connection,
    part: Sequence[int],
    _is_last: bool,
) -> int:
    return change(connection, of, part)


class MatrixWriter:
    """Writes the matrix of a sweep into the queue: adds jobs, and removes those that are no longer asked for.

    A matrix counts only once `finish_expansion` has marked it as complete; until then it can be expanded
    again after a kill. All methods raise StoreError if they cannot commit.
    """

    def __init__(self, database: Database, clock: Clock, writer: Writer, parts: PartWriter) -> None:
        self._database = database
        self._clock = clock
        self._writer = writer
        self._parts = parts
        self._asked: dict[tuple[int, int], expansion.ExpansionProgress] = {}

    async def add_documents(self, contents: Mapping[str, Any]) -> None:
        """Store prompts and other large contents once, under their digests, before the jobs that refer to them.

        Contents are values of JSON; a digest that the store has already is left as it is.
        """
        await self._writer.write(lambda connection: documents.add(connection, contents))

    async def add_jobs(
        self,
        of: RunRow,
        jobs: Sequence[NewJob],
        *,
        reuse: bool,
        unanswered: UnansweredPolicy = _UNANSWERED,
    ) -> int:
        """Add the next batch of the matrix to the queue; see `submission.add_jobs`.

        While an edited sweep is expanded, this worker claims only jobs up to the last batch.
        """
        asked = self._asked.setdefault((of.id, of.generation), expansion.ExpansionProgress())
        written = await self._writer.write(
            lambda connection: submission.add_jobs(
                connection, of, jobs, reuse=reuse, unanswered=unanswered, asked=asked
            )
        )
        if of.generation > 1 and jobs and asked.edit is None:
            reached = (jobs[-1].repeat, jobs[-1].place)
            ids = await self._database.ask(
                lambda connection: expansion.find_passed_over(connection, of, asked, reached)
            )
            await self._parts.write(
                array("q", ids),
                lambda connection, part, _: expansion.put_behind(connection, of, part),
            )
            asked.reached = reached
        return written

    async def begin_edit(self, of: RunRow, edit: Edit) -> None:
        """Restrict the expansion to the jobs that an edit concerns.

        All other jobs of the run can be claimed from now on; changed ones as soon as they are added again.
        """
        asked = self._asked.setdefault((of.id, of.generation), expansion.ExpansionProgress())
        for find, change in (
            (expansion.find_displaced, expansion.put_behind),
            (expansion.find_behind, expansion.put_back),
        ):
            ids = await self._database.ask(partial(find, of=of, edit=edit))
            await self._parts.write(array("q", ids), partial(_change_part, change, of))
        asked.edit, asked.reached = edit, expansion.ALL_IN_TURN

    @contextmanager
    def expanding(self, of: RunRow) -> Iterator[None]:
        """Expand a run's matrix within the block, from its first batch on.

        The progress is kept in this process only: after the block, or a crash, an expansion starts over.
        """
        self._asked[of.id, of.generation] = expansion.ExpansionProgress()
        try:
            yield
        finally:
            self._asked.pop((of.id, of.generation), None)

    def position(self, run_id: int) -> expansion.Position | None:
        """How far this worker has expanded an edited sweep of a run, by its newest edit.

        None if it does not expand one, and for the first sweep of a run. It is held in memory only; nothing
        is read.
        """
        generations = [generation for of, generation in self._asked if of == run_id]
        newest = max(generations, default=1)
        return self._asked[run_id, newest].reached if newest > 1 else None

    async def finish_expansion(self, of: RunRow, kept: KeptLayout | None = None) -> int:
        """Mark the matrix as complete and remove jobs that it did not ask for, in parts; returns how many.

        This worker must have added all that the sweep asks for, except what its edit does not concern. The layout
        `kept` is stored for the next edit.
        """
        asked = self._asked.get((of.id, of.generation), expansion.ExpansionProgress())
        removed = 0
        if of.generation > 1:
            asked_for = expansion.select_asked(of)
            if asked.edit is not None:
                asked_for = expansion.select_left_behind(of, asked.edit)
            ids = await self._parts.ids(asked_for)
            gone = array("q", (job_id for job_id in ids if job_id not in asked))
            removed = await self._parts.write(
                gone, lambda connection, part, _: expansion.remove(connection, of, part)
            )
        now = self._clock.now()
        await self._writer.write(lambda connection: expansion.finish(connection, of, kept, now=now))
        self._asked.pop((of.id, of.generation), None)
        return removed
