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
    """A job of a family as the store has it. `cells` and `past_cells` are ascending and have none in common."""

    id: int
    key: bytes
    threshold: float
    cells: list[float]
    """What the sweep asks of it; what an earlier one asked as long as it is not `is_asked`."""
    past_cells: list[float]
    """What was asked of it and is no longer."""
    is_answered: bool
    is_asked: bool
    """Whether the new matrix asks it for one of its cells."""
    is_changed: bool = False
    place: int | None = None
    """Where the file has the first of the cells that it answers, as far as this batch tells."""
    before: tuple[list[float], list[float], int] | None = None
    """Its cells, past cells and place as they are in the store."""

    def serve(self, cell: float, place: int) -> None:
        """Answer a cell of the new matrix, which the file has at a place."""
        self._join()
        self.is_changed = True
        self.place = place if self.place is None else min(place, self.place)
        if cell in self.past_cells:
            self.past_cells.remove(cell)
        if cell not in self.cells:
            insort(self.cells, cell)

    def drop(self, cell: float) -> None:
        """Leave a cell to another job."""
        for cells in (self.cells, self.past_cells):
            if cell in cells:
                cells.remove(cell)
                self.is_changed = True

    def has(self, cell: float) -> bool:
        """Whether the cell was asked of this job, be it by an earlier sweep."""
        return cell in self.cells or cell in self.past_cells

    def _join(self) -> None:
        """Answer for the new matrix from now on: what an earlier one asked is past."""
        if not self.is_asked:
            self.past_cells = merge_thresholds(self.cells, self.past_cells)
            self.cells = []
            self.is_asked = True


def merge_thresholds(cells: Iterable[float], others: Iterable[float]) -> list[float]:
    """All of two lists of thresholds, ascending."""
    return sorted({*cells, *others})


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
        server = (_server(cell, own, others) if one.folds else None) or own
        if server is own:
            remaining.append(cell)
        for member in family:
            if member is server:
                member.serve(cell, one.place)
            else:
                member.drop(cell)
    if own is not None and own.is_asked:
        # Written with the jobs of this batch, so that only what changes from here on is left to write.
        own.is_changed, own.place = False, one.place
        return replace(one, cells=tuple(own.cells), past_cells=tuple(own.past_cells))
    return replace(one, cells=tuple(remaining)) if remaining or not one.cells else None


def _server(cell: float, own: Member | None, others: Sequence[Member]) -> Member | None:
    """The answer that has the cell already, or else the nearest one that can serve it."""
    answers = [
        member
        for member in ([] if own is None else [own]) + list(others)
        if member.is_answered and member.threshold >= cell
    ]
    holding = [member for member in answers if member.has(cell)]
    return min(holding or answers, key=lambda member: member.threshold, default=None)
