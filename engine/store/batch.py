"""A batch of changes, and the one transaction that it becomes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
from sqlalchemy.engine import Connection

from engine.store.paid import Paid
from engine.store.queries import calls, outcomes
from engine.store.requests import CallReply, Outcome

T = TypeVar("T")
Work = Callable[[Connection], T]
"""A change, made inside a write transaction, in the writer's thread."""
Preparation = Callable[[Sequence[Outcome]], Work[T]]
"""Gives the change when its transaction is about to begin, told the outcomes that commit with it."""


@dataclass(slots=True)
class Change(Generic[T]):
    """What is to be done in a transaction, and what came of it."""

    work: Preparation[T] | Paid
    done: anyio.Event = field(default_factory=anyio.Event)
    patience_s: float | None = None
    """How long its commit may fail before it is given up; None for what goes for everybody."""
    value: T | None = None
    error: BaseException | None = None

    @property
    def paid(self) -> Paid | None:
        """What it brings that the side file can hold."""
        return self.work if isinstance(self.work, Outcome | CallReply) else None

    def finish(self, error: BaseException | None) -> None:
        """Release the caller: with its value, or with an error."""
        self.error = error
        self.done.set()


@dataclass(slots=True)
class Transaction:
    """A batch, ready to be run: outcomes first, so that a claim sees what they set free."""

    settled: list[tuple[Change[Any], Outcome]]
    replies: list[tuple[Change[Any], CallReply]]
    works: list[tuple[Change[Any], Work[Any]]]

    def run(self, connection: Connection) -> None:
        """Make all changes of the batch, each with its value."""
        if self.settled:
            applied = outcomes.settle(connection, [outcome for _, outcome in self.settled])
            for (change, _), counts in zip(self.settled, applied, strict=True):
                change.value = counts
        for change, reply in self.replies:
            change.value = calls.keep(connection, reply)
        for change, work in self.works:
            change.value = work(connection)


def paid_of(batch: Iterable[Change[Any]]) -> list[Paid]:
    """What a batch brings that the side file can hold."""
    return [change.paid for change in batch if change.paid is not None]


def prepare(batch: Iterable[Change[Any]]) -> Transaction:
    """Decide what the transaction of a batch does; in the event loop, just before it."""
    settled = [(change, change.work) for change in batch if isinstance(change.work, Outcome)]
    settling = [outcome for _, outcome in settled]
    replies = [(change, change.work) for change in batch if isinstance(change.work, CallReply)]
    works = [
        (change, change.work(settling))
        for change in batch
        if not isinstance(change.work, Outcome | CallReply)
    ]
    return Transaction(settled, replies, works)
