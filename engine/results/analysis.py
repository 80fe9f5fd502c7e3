"""What a run found, from one reading of its cells: rates by axis, paired differences, flaky cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.core.differences import PairedDifference
from engine.core.errors import UsageError
from engine.core.flakiness import Flakiness
from engine.core.listing import join_first
from engine.results.flakiness import find_flaky
from engine.results.observations import Observations
from engine.results.pairs import pairs_of
from engine.results.summaries import Summary, summarize


@dataclass(frozen=True)
class Analysis:
    """What a run found, as it was when `Run.analysis` read it.

    Axes are named as in rows (`model`) or in sweep files (`models`).

    Example:
        >>> analysis = run.analysis()
        >>> [(one.labels["number"], one.coverage.answered) for one in analysis.summaries(["number"])]
        [(1, 1), (2, 1), (3, 1)]
    """

    seen: Observations
    fields: Mapping[str, str]
    """The field of each axis, by its field and by its name in sweep files."""

    @property
    def thresholds(self) -> list[float | None]:
        """The thresholds of its cells, ascending; None alone if the evaluation has none."""
        return self.seen.thresholds

    def summaries(self, by: Sequence[str] = ()) -> list[Summary]:
        """The rates of the cells with the same values on the axes `by`, for each threshold.

        They are in the order of the sweep, with the thresholds ascending. Raises UsageError if there is no such
        axis.
        """
        return summarize(self.seen, [self.field(name) for name in by])

    def pairs(self, axis: str) -> list[PairedDifference]:
        """All pairs of values on an axis, compared over the cells and cases that both have, for each threshold.

        Raises UsageError if there is no such axis.
        """
        return pairs_of(self.seen, self.field(axis))

    def flaky(self, threshold: float | None = None) -> Flakiness:
        """How often the repeats of a case agree at a threshold, by default the highest."""
        if threshold is None and self.thresholds:
            threshold = self.thresholds[-1]
        return find_flaky(self.seen, threshold)

    def field(self, name: str) -> str:
        """The field of an axis, given as in rows or in sweep files; raises UsageError if there is none."""
        if (found := self.fields.get(name)) in self.seen.axes:
            return str(found)
        known = join_first(self.seen.axes, most=20) or "none"
        raise UsageError(f"there is no axis {name!r}; the axes are {known}")
