"""Waiting for a slot at an endpoint: one line for each name, shared by all roles of a process."""

import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from engine.clock import Clock

logger = logging.getLogger(__name__)

_ASK_S = 1.0
"""Seconds between looks at what other processes need or give back."""


class SlotBook(Protocol):
    """A record of slots that several processes share."""

    async def take_slots(
        self, name: str, caller: str, *, wants: int, in_use: int, limit: int
    ) -> int:
        """Ask for `wants` slots of `limit`; returns how many `caller` has now, at least `in_use`."""
        ...


@dataclass(slots=True)
class _Line:
    """The slots of one endpoint, as this process knows them."""

    limit: int = 1
    has: int = 0
    in_use: int = 0
    asked_at: float = -1.0
    waiting: deque[object] = field(default_factory=deque)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def notify(self) -> None:
        """Wake all waiting calls, to look for a slot again."""
        changed, self.changed = self.changed, anyio.Event()
        changed.set()


class Slots:
    """Slots at endpoints for one caller: how many calls may be in flight there at a time.

    The name `caller` is unique over all processes that share the `book`; without a book, the slots are this
    process's own.
    """

    def __init__(self, clock: Clock, book: SlotBook | None = None, caller: str = "") -> None:
        self._clock = clock
        self._book = book
        self._caller = caller
        self._lines: dict[str, _Line] = {}
        self._asking = anyio.Lock()
        self._used = anyio.Event()

    @asynccontextmanager
    async def hold(self, name: str, max_in_flight: int) -> AsyncIterator[None]:
        """Wait for one of `max_in_flight` slots under a name, and hold it within the block.

        Calls of this process get slots in the order in which they ask.
        """
        line = self._lines.setdefault(name, _Line())
        line.limit = max(line.limit, max_in_flight)
        await self._enter(name, line, max_in_flight)
        try:
            yield
        finally:
            line.in_use -= 1
            line.notify()

    async def _enter(self, name: str, line: _Line, limit: int) -> None:
        me = object()
        line.waiting.append(me)
        since: float | None = None
        try:
            while line.waiting[0] is not me or not await self._has_room(name, line, limit):
                changed = line.changed
                if since is None:
                    since = self._clock.now()
                    _log_wait(name, line, limit)
                until = self._clock.now() + _ASK_S
                if line.waiting[0] is me and line.in_use < limit:
                    await self._clock.wait(changed, until)
                else:
                    await changed.wait()
            line.in_use += 1
            if since is not None:
                logger.debug("%s: a slot after %.1f s", name, self._clock.now() - since)
        finally:
            line.waiting.remove(me)
            line.notify()

    async def _has_room(self, name: str, line: _Line, limit: int) -> bool:
        if line.in_use >= limit:
            return False
        if self._book is None:
            return True
        if line.in_use >= line.has or self._clock.now() >= line.asked_at + _ASK_S:
            await self._ask(name, line, wants=line.limit)
        return line.in_use < min(limit, line.has)

    async def _ask(self, name: str, line: _Line, *, wants: int) -> None:
        assert self._book is not None, "without a book there is nothing to ask"
        async with self._asking:
            line.asked_at = self._clock.now()
            # Until the answer is there, a call that begins takes no slot that may be given back.
            line.has = min(line.has, max(wants, line.in_use))
            line.has = await self._book.take_slots(
                name, self._caller, wants=wants, in_use=line.in_use, limit=line.limit
            )
        self._used.set()

    async def share(self) -> None:
        """Give back unused slots from time to time until cancelled, and then all of them."""
        try:
            while True:
                await self._used.wait()
                await self._clock.sleep(_ASK_S)
                self._used = anyio.Event()
                await self._give_back()
        finally:
            with anyio.CancelScope(shield=True):
                await self._give_back()

    async def _give_back(self) -> None:
        for name, line in list(self._lines.items()):
            if line.has > line.in_use and not line.waiting:
                await self._ask(name, line, wants=line.in_use)
            elif line.has:
                self._used.set()


def _log_wait(name: str, line: _Line, limit: int) -> None:
    logger.debug(
        "%s: waiting for a slot, with %d of %d in use here and %d waiting before it",
        name,
        line.in_use,
        limit,
        len(line.waiting) - 1,
    )
