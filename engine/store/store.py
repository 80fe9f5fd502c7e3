"""A store on an open database: its reader, its worker, and the parts that change it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from engine.clock import Clock
from engine.core.errors import Interrupted, StoreError
from engine.core.status import Backup
from engine.locations import Location
from engine.store.changes.attempts import AttemptChanges
from engine.store.changes.in_parts import PartWriter
from engine.store.changes.limits import SharedLimits
from engine.store.changes.matrix import MatrixWriter
from engine.store.changes.queue import QueueChanges
from engine.store.changes.removal import Removal
from engine.store.changes.runs import RunChanges
from engine.store.database import Database
from engine.store.inspection import Inspection
from engine.store.reader import StoreReader
from engine.store.worker import Worker


class Store:
    """An open store, in parts by subject: `reader` and `inspection` answer questions, the others change it.

    No part but these two can be used before `serving` has started the writer.
    """

    def __init__(self, database: Database, clock: Clock, *, commit_interval_s: float) -> None:
        self._database = database
        self._clock = clock
        self.reader = StoreReader(database, clock)
        self.inspection = Inspection(database)
        self.worker = Worker(database, clock, self.reader, commit_interval_s=commit_interval_s)
        writer = self.worker.writer
        parts = PartWriter(database, clock, writer)
        self.runs = RunChanges(clock, writer)
        self.matrix = MatrixWriter(database, clock, writer, parts)
        self.queue = QueueChanges(clock, writer, self.worker, parts, self.matrix.position)
        self.attempts = AttemptChanges(clock, writer)
        self.limits = SharedLimits(database, clock, writer, self.worker.id)
        self.removal = Removal(database, clock, writer, self.worker, parts)

    @property
    def path(self) -> Location:
        """Where the store is, as messages and commands show it."""
        return self._database.path

    @property
    def worker_id(self) -> str:
        """The id of the worker that claims jobs through this store; empty if the store is only read."""
        return self.worker.id

    @property
    def trouble(self) -> StoreError | None:
        """Why commits fail at present, such as a full disk; None if they succeed."""
        return self.worker.writer.trouble

    @property
    def is_lost(self) -> bool:
        """Whether the store's file was removed, moved, replaced or overwritten, so that nothing more may be sent.

        Changes then raise StoreLost. Answers and replies go to a side file, and answers count as recorded.
        """
        return self._database.is_lost

    def refuse_if_lost(self) -> None:
        """Raise StoreLost if the store's file is no longer the one that was opened."""
        self._database.refuse_if_lost()

    async def back_up(self, target: Path | None = None) -> Backup:
        """Copy the store to a new file of mode 0600, which appears once it is complete and checked.

        Without `target`, it is created next to the store, with the time in its name. Raises StoreError if the file
        exists already or cannot be written. If cancelled, no file is left.
        """
        return await self._database.back_up(target, self._clock.now())


@asynccontextmanager
async def serving(
    database: Database, clock: Clock, *, commit_interval_s: float
) -> AsyncIterator[Store]:
    """Yield a store on an open database. It accepts changes until the block ends, which signs its worker off.

    `commit_interval_s` is the least real time between two commits under load.
    """
    store = Store(database, clock, commit_interval_s=commit_interval_s)
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        # If the start were cancelled, this would wait forever: only `sign_off` ends the writer.
        with anyio.CancelScope(shield=True):
            await tasks.start(store.worker.writer.run, name="writer")
        tasks.start_soon(store.worker.interrupt_when_cancelled, name="interrupt")
        try:
            await store.worker.adopt_clock()
            yield store
        except (Exception, Interrupted) as error:
            # Raised again below, so that it is not wrapped in an exception group.
            raised = error
        finally:
            with anyio.CancelScope(shield=True):
                await store.worker.sign_off()
    if raised is not None:
        raise raised
