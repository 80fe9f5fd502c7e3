"""A batch of changes, and the transaction that makes them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
from sqlalchemy.engine import Connection

from engine.store.paid import Paid
from engine.store.queries import calls, commit_order, outcomes
from engine.store.requests import CallReply, Outcome

T = TypeVar("T")
Work = Callable[[Connection], T]
"""A change that is made inside a write transaction, in the writer's thread."""
Preparation = Callable[[Sequence[Outcome]], Work[T]]
"""Returns the change just before its transaction begins, given the outcomes that commit with it."""


@dataclass(slots=True)
class Change(Generic[T]):
    """A change to be made in a transaction, and its result."""

    work: Preparation[T] | Paid
    done: anyio.Event = field(default_factory=anyio.Event)
    patience_s: float | None = None
    """Seconds for which its commit may fail before it is given up; None for the writer's own limit."""
    value: T | None = None
    error: BaseException | None = None

    @property
    def paid(self) -> Paid | None:
        """The answer or reply in it, which the side file can hold; None for other changes."""
        return self.work if isinstance(self.work, Outcome | CallReply) else None

    def finish(self, error: BaseException | None) -> None:
        """Record the outcome and release the caller; with an `error` the change counts as not made.

        Call it in the event loop, once the transaction of the change is committed or given up.
        """
        self.error = error
        self.done.set()


@dataclass(slots=True)
class Transaction:
    """A batch that is ready to run: outcomes come first, so that claims see the slots and quota that they free."""

    settled: list[tuple[Change[Any], Outcome]]
    replies: list[tuple[Change[Any], CallReply]]
    works: list[tuple[Change[Any], Work[Any]]]

    def run(self, connection: Connection) -> None:
        """Make all changes of the batch inside the caller's transaction, and set their values.

        The first error is raised, and the caller then rolls everything back.
        """
        with commit_order.numbering_last(connection):
            self._run(connection)

    def _run(self, connection: Connection) -> None:
        if self.settled:
            applied = outcomes.settle(connection, [outcome for _, outcome in self.settled])
            for (change, _), counts in zip(self.settled, applied, strict=True):
                change.value = counts
        for change, reply in self.replies:
            change.value = calls.keep(connection, reply)
        for change, work in self.works:
            change.value = work(connection)


def paid_of(batch: Iterable[Change[Any]]) -> list[Paid]:
    """The answers and replies in a batch, which the side file can hold."""
    return [change.paid for change in batch if change.paid is not None]


def prepare(batch: Iterable[Change[Any]]) -> Transaction:
    """Build the transaction of a batch, in the event loop just before the transaction runs.

    Calls the preparation of each change with the outcomes that the batch settles; what one of them raises
    is raised.
    """
    settled = [(change, change.work) for change in batch if isinstance(change.work, Outcome)]
    settling = [outcome for _, outcome in settled]
    replies = [(change, change.work) for change in batch if isinstance(change.work, CallReply)]
    works = [
        (change, change.work(settling))
        for change in batch
        if not isinstance(change.work, Outcome | CallReply)
    ]
    return Transaction(settled, replies, works)
