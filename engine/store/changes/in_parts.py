"""Changes of many rows, in one transaction for each part."""

from array import array
from collections.abc import (
    Callable,
    Sequence,
)
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Select
from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.store.batch import Work
from engine.store.database import Database
from engine.store.queries import (
    parts,
)
from engine.store.writer import Writer

T = TypeVar("T")

OnProgress: TypeAlias = Callable[[int, int | None], None]
"""Called with the number of things done and of all; the latter is None while it is being counted."""


def _on_part(
    work: Callable[[Connection, Sequence[T], bool], int], part: Sequence[T], *, is_last: bool
) -> Work[int]:
    return lambda connection: work(connection, part, is_last)


class PartWriter:
    """Makes changes in parts, so that other processes can write in between."""

    def __init__(self, database: Database, clock: Clock, writer: Writer) -> None:
        self._database = database
        self._clock = clock
        self._writer = writer

    async def ids(self, query: Select[Any]) -> "array[int]":
        """The ids that a query finds, in its order, from one snapshot; later changes may have removed some of them."""
        return await self._database.ask(lambda connection: parts.ids_of(connection, query))

    async def write(
        self,
        things: Sequence[T],
        work: Callable[[Connection, Sequence[T], bool], int],
        on_progress: OnProgress | None = None,
    ) -> int:
        """Run `work` for each part of `things`, each in its own transaction; returns the sum of its values.

        `work` takes the connection, the part, and whether it is the last one. `on_progress` is called before the first
        part and after each, with how many of the things are done.
        """
        self._database.check_writable()
        left, total = len(things), 0
        if on_progress is not None:
            on_progress(0, len(things))
        for part in parts.parts(things):
            left -= len(part)
            total += await self._writer.write(_on_part(work, part, is_last=not left))
            if on_progress is not None:
                on_progress(len(things) - left, len(things))
            if left:
                await self._clock.sleep(parts.PAUSE_S)
        return total
