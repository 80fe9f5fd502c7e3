"""Deleting runs, and rows that no run refers to."""

from collections.abc import (
    Callable,
    Iterable,
)
from dataclasses import replace
from functools import partial

from engine.clock import Clock
from engine.core.runs import RunState
from engine.core.status import Deleted, Pruned
from engine.store.changes.in_parts import PartWriter
from engine.store.database import Database
from engine.store.queries import (
    deletion,
    parts,
    workers,
)
from engine.store.queries.runs import RunRow
from engine.store.worker import Worker
from engine.store.writer import Writer


class Removal:
    """Deletes rows for good and gives their space back."""

    def __init__(
        self, database: Database, clock: Clock, writer: Writer, worker: Worker, parts: PartWriter
    ) -> None:
        self._database = database
        self._clock = clock
        self._writer = writer
        self._worker = worker
        self._parts = parts

    async def delete_run(
        self, of: RunRow, caps: Iterable[str], on_progress: Callable[[int], None] = lambda _: None
    ) -> Deleted:
        """Delete a run and everything it owns, in parts; see `deletion.remove_part`.

        `caps` are the names of its own quotas. `on_progress` is called after each part with the number of jobs
        deleted so far. If that is interrupted, the run stays marked as being deleted, and this completes it.
        """
        self._database.check_writable()
        names, now = tuple(caps), self._clock.now()
        free = await self._database.reusable_bytes()
        removed = deletion.Removed()
        while True:
            remove = partial(deletion.remove_part, of=of, caps=names, now=now)
            removed.add(await self._writer.write(remove))
            on_progress(removed.jobs)
            if removed.is_whole:
                break
            of = replace(of, state=RunState.DELETING)
            await self._clock.sleep(parts.PAUSE_S)
        documents = await self._remove_documents()
        return Deleted(
            run=of.name,
            jobs=removed.jobs,
            answers=removed.answers,
            answers_kept=removed.answers_kept,
            documents=documents,
            bytes=max(0, await self._database.reusable_bytes() - free),
        )

    async def prune(self) -> Pruned:
        """Delete what no run refers to, in parts, and return the free space to the disk.

        While another process uses the store, its file keeps its size: `compacted` is False. Raises StoreError
        if there is no space to rewrite the file.
        """
        documents = await self._remove_documents()
        gone = await self._remove_workers()
        alone = await self._worker.is_alone()
        freed = 0
        if alone:
            async with self._worker.between_commits():
                freed = await self._database.give_back_space()
        return Pruned(documents=documents, workers=gone, bytes=freed, compacted=alone)

    async def _remove_documents(self) -> int:
        matrices, digests = await self._database.ask(deletion.find_unused_documents)
        return await self._parts.write(
            digests,
            lambda connection, part, _: deletion.remove_documents(connection, part, matrices),
        )

    async def _remove_workers(self) -> int:
        ids = await self._database.ask(workers.find_unneeded)
        # A stopped process is declared dead after a while, and may still come back.
        gone = await self._database.liveness.find_ended(ids)
        return await self._parts.write(
            gone, lambda connection, part, _: workers.remove(connection, part)
        )
