"""Assigning the cells of a family to the jobs that can answer them.

The jobs of a family ask the same question at different thresholds. An answer at one threshold can be evaluated at
every lower one, so a cell that an existing answer can serve is not sent again, and each cell belongs to one job.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.store.requests import NewJob


@dataclass(slots=True)
class Member:
    """A job of a family as stored. `cells` and `past_cells` are ascending and disjoint."""

    id: int
    key: bytes
    threshold: float
    cells: list[float]
    """The thresholds that the sweep asks of it; those of the earlier sweep until `is_asked` is set."""
    past_cells: list[float]
    """The thresholds that only earlier sweeps asked of it."""
    is_answered: bool
    is_asked: bool
    """Whether the new matrix asks for one of its cells."""
    is_changed: bool = False
    place: int | None = None
    """The position in the file of the first cell that it answers, among those of this batch."""
    before: tuple[list[float], list[float], int] | None = None
    """Its stored cells, past cells and place."""

    def serve(self, cell: float, place: int) -> None:
        """Assign a cell of the new matrix, at a place in the file, to this job."""
        self._join()
        self.is_changed = True
        self.place = place if self.place is None else min(place, self.place)
        if cell in self.past_cells:
            self.past_cells.remove(cell)
        if cell not in self.cells:
            insort(self.cells, cell)

    def drop(self, cell: float) -> None:
        """Remove a cell that is assigned to another job, from the current cells and the past ones."""
        for cells in (self.cells, self.past_cells):
            if cell in cells:
                cells.remove(cell)
                self.is_changed = True

    def has(self, cell: float) -> bool:
        """Whether this or an earlier sweep asked this job for the cell."""
        return cell in self.cells or cell in self.past_cells

    def _join(self) -> None:
        """Make this job part of the new matrix; the cells of the earlier one become past cells."""
        if not self.is_asked:
            self.past_cells = merge_thresholds(self.cells, self.past_cells)
            self.cells = []
            self.is_asked = True


def merge_thresholds(cells: Iterable[float], others: Iterable[float]) -> list[float]:
    """The union of two lists of thresholds, ascending and without duplicates."""
    return sorted({*cells, *others})


def assign_cells(jobs: Iterable[NewJob], members: Mapping[bytes, Sequence[Member]]) -> list[NewJob]:
    """Divide the cells of `jobs` between them and the existing members of their families.

    Changes the members in place. Returns the jobs that still have a cell to answer.
    """
    assigned = (_assign(one, members.get(one.family or b"", ())) for one in jobs)
    return [one for one in assigned if one is not None]


def _assign(one: NewJob, family: Sequence[Member]) -> NewJob | None:
    own = next((member for member in family if member.key == one.key), None)
    others = [member for member in family if member is not own]
    remaining: list[float] = []
    for cell in one.cells:
        server = (_find_server(cell, own, others) if one.folds else None) or own
        if server is own:
            remaining.append(cell)
        for member in family:
            if member is server:
                member.serve(cell, one.place)
            else:
                member.drop(cell)
    if own is not None and own.is_asked:
        # It is written with the jobs of this batch, so only later changes remain to be written.
        own.is_changed, own.place = False, one.place
        return replace(one, cells=tuple(own.cells), past_cells=tuple(own.past_cells))
    return replace(one, cells=tuple(remaining)) if remaining or not one.cells else None


def _find_server(cell: float, own: Member | None, others: Sequence[Member]) -> Member | None:
    """The answered job that has the cell already, or else the one with the nearest threshold that can serve it."""
    answers = [
        member
        for member in ([] if own is None else [own]) + list(others)
        if member.is_answered and member.threshold >= cell
    ]
    holding = [member for member in answers if member.has(cell)]
    return min(holding or answers, key=lambda member: member.threshold, default=None)
