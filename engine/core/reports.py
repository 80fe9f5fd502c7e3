"""What the report on a run shows: plain values, which each of its writers puts into words, tables or pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.core.differences import PairedDifference
from engine.core.estimates import Estimate, Rate
from engine.core.findings import Finding
from engine.core.flakiness import Flakiness
from engine.core.rows import Coverage
from engine.core.runs import Event
from engine.core.samples import ValueMean
from engine.core.status import Status

RATES: Mapping[Rate, str] = {
    Rate.FIRST: "first answers that failed / first answers, before any variations",
    Rate.CASES: "cases with a failure in any answer / cases asked",
    Rate.FAILURE: "tests that failed / all tests, variations included",
}
"""The three rates with what each divides, the default first."""
CURVE_STEPS = 200
"""The steps of thresholds from 0 to 1 in which scores are counted for whole curves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """All cells of one row and column of the heat map, at one threshold."""

    row: str
    column: str
    threshold: float | None
    coverage: Coverage
    cases: int | None
    """Different cases; None if the answers do not name them."""
    estimates: Mapping[Rate, Estimate]
    """By rate, in the order of RATES; a rate that the answers do not tell is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Rates by two axes of the sweep; `column_axis` is empty if the sweep varies only one."""

    row_axis: str
    column_axis: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    thresholds: tuple[float | None, ...]
    cells: tuple[HeatCell, ...]
    rows_left_out: int = 0
    columns_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The rate of one row in one column of the heat map, at one threshold."""

    row: str
    column: str
    threshold: float
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCurve:
    """The failure rate of one row in one column of the heat map at every threshold, from all first answers' scores."""

    row: str
    column: str
    failed: tuple[int, ...]
    """The first answers that fail at the thresholds 0, 1/200, 2/200 and so on up to 1."""
    answers: int
    cases: int | None
    """Different cases; None if it is unknown how many there are."""
    half_width: float | None
    """Half the height of the 95 % band around the whole curve, as a share; None if the cases are unknown."""

    def rate(self, step: int) -> float:
        """The failure rate at the threshold step/200, from 0 to 1."""
        return self.failed[step] / self.answers

    def band(self, step: int) -> tuple[float, float] | None:
        """The lowest and highest rate of the band there, both within 0 to 1; None if the cases are unknown."""
        if self.half_width is None:
            return None
        rate = self.rate(step)
        return max(0.0, rate - self.half_width), min(1.0, rate + self.half_width)

    def steps(self, every: int = 1) -> list[int]:
        """The thresholds that draw the curve, in 1/200: 0, 1, and each after which the rate changes.

        With `every`, only multiples of so many: the curve is coarser and its rates there the same. Between two
        thresholds the rate is that of the higher one.
        """
        grid = range(0, CURVE_STEPS + 1, every)
        return [
            step
            for step in grid
            if step in (0, grid[-1]) or self.failed[step] != self.failed[step + every]
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The pairs of one axis at one threshold: those that are told apart first, then by the size of their difference."""

    axis: str
    threshold: float | None
    shown: tuple[PairedDifference, ...]
    total: int
    told_apart: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanRow:
    """The means of numeric values of the job kind, by name, over the answers of one value of an axis."""

    name: str
    means: Mapping[str, ValueMean]


@dataclass(slots=True, kw_only=True)
class Effort:
    """What the jobs of one value of an axis took."""

    name: str
    jobs: int = 0
    attempts: int = 0
    retried: int = 0
    """Jobs with more than one attempt."""
    retries: int = 0
    """The attempts of jobs after their first."""
    failed: int = 0
    seconds: float = 0.0
    """The seconds of all attempts that were answered, added up."""
    timed: int = 0
    """The answers whose seconds are known."""
    slowest: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the whole run took. Times are seconds since the Unix epoch."""

    requests: int
    retries: int
    began_at: float | None
    ended_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstFindings:
    """The worst findings of a run, the lowest score first, and how many it has in all."""

    kept: tuple[Finding, ...]
    total: int
    axes: Mapping[str, tuple[str, ...]]
    """The values of each axis that a finding may have, by field."""
    unavailable: str = ""
    """Why findings cannot be read, in words; empty if they can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """All that the report on a run shows, at one moment."""

    status: Status
    version: str
    store: str
    """The store as commands name it; empty for the default one."""
    threshold: float | None
    """The threshold of all numbers that do not say another."""
    spent: Spent
    events: tuple[Event, ...]
    has_more_events: bool
    heat_map: HeatMap | None
    curves: tuple[CurvePoint, ...]
    score_curves: tuple[ScoreCurve, ...]
    """Of the rows and columns whose answers list the scores of all their first answers."""
    pairs: tuple[Pairs, ...]
    flakiness: Flakiness | None
    means: tuple[MeanRow, ...]
    """By the rows of the heat map; empty if answers have no numeric values."""
    effort_axis: str
    effort: tuple[Effort, ...]
    findings: WorstFindings

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.status.run
