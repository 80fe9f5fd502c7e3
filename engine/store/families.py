"""Who answers which threshold: cells of one family and the jobs that can serve them.

A family is one question but for its threshold. An answer at a threshold can be read at every lower
one, so a cell that some answer can serve is never sent again, and no cell is at two jobs.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.store.requests import NewJob


@dataclass(slots=True)
class Member:
    """A job of a family as the store has it. `cells` are ascending."""

    id: int
    key: bytes
    threshold: float
    cells: list[float]
    is_answered: bool
    is_asked: bool = False
    """Whether the new matrix asks it for one of its cells."""
    is_changed: bool = False

    def serve(self, cell: float) -> None:
        """Answer a cell of the new matrix."""
        self.is_asked = self.is_changed = True
        if cell not in self.cells:
            insort(self.cells, cell)

    def drop(self, cell: float) -> None:
        """Leave a cell to another job."""
        if cell in self.cells:
            self.cells.remove(cell)
            self.is_changed = True


def place(jobs: Iterable[NewJob], members: Mapping[bytes, Sequence[Member]]) -> list[NewJob]:
    """Share the cells of `jobs` between them and the members of their families.

    Returns the jobs that are left with something to answer; the members are changed in place.
    """
    placed = (_place(one, members.get(one.family or b"", ())) for one in jobs)
    return [one for one in placed if one is not None]


def _place(one: NewJob, family: Sequence[Member]) -> NewJob | None:
    own = next((member for member in family if member.key == one.key), None)
    others = [member for member in family if member is not own]
    remaining: list[float] = []
    for cell in one.cells:
        server = _server(cell, own, others) if one.folds else own
        if server is None or server is own:
            remaining.append(cell)
        for member in others:
            if member is server:
                member.serve(cell)
            else:
                member.drop(cell)
    if own is not None and own.is_answered:
        # What it was once asked for and has answered stays readable.
        remaining = sorted({*remaining, *own.cells})
    if own is not None:
        own.cells = list(remaining)
        own.is_asked = bool(remaining)
    return replace(one, cells=tuple(remaining)) if remaining or not one.cells else None


def _server(cell: float, own: Member | None, others: Sequence[Member]) -> Member | None:
    """The answer that has the cell already, or else the nearest one that can serve it."""
    answers = [
        member
        for member in ([] if own is None else [own]) + list(others)
        if member.is_answered and member.threshold >= cell
    ]
    holding = [member for member in answers if cell in member.cells]
    return min(holding or answers, key=lambda member: member.threshold, default=None)
