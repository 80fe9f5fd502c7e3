"""Comparisons as tables: pairs of values and means of values."""

from dataclasses import dataclass

from engine.core.differences import PairedDifference
from engine.core.listing import quantity
from engine.core.reports import Pairs, ReportData
from engine.core.samples import ValueMean
from engine.report.html.heat import UNKNOWN
from engine.report.verdict import needs_cases

_MOST_NAMES = 12
"""The most values of a job kind whose means are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """A line of the table of paired differences."""

    a: str
    b: str
    rates: str
    difference: str
    interval: str
    p: str
    cases: int
    verdict: str
    detail: str
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsView:
    """The paired differences of one axis."""

    axis: str
    summary: str
    rows: list[PairRow]


def pairs_view(pairs: Pairs) -> PairsView:
    """The paired differences of one axis as a table, with a sentence that says how many are told apart."""
    at = "" if pairs.threshold is None else f" at threshold {pairs.threshold:g}"
    undecided = pairs.total - pairs.told_apart
    summary = (
        f"{pairs.told_apart:,} of {quantity(pairs.total, 'pair')} can be told apart{at};"
        f" {undecided:,} cannot."
    )
    if pairs.total > len(pairs.shown):
        summary += f" The {len(pairs.shown):,} largest differences are shown."
    return PairsView(axis=pairs.axis, summary=summary, rows=[_pair_row(one) for one in pairs.shown])


def _pair_row(pair: PairedDifference) -> PairRow:
    detail = ""
    if not pair.is_told_apart and pair.detectable is not None:
        detail = f"a difference of {pair.detectable * 100:.0f} points would have shown"
        if needs_cases(pair):
            detail += f"; this one needs about {pair.cases_needed:,} cases"
    return PairRow(
        a=pair.a,
        b=pair.b,
        rates=f"{pair.rate_a:.0%}, {pair.rate_b:.0%}",
        difference=f"{pair.difference * 100:+.0f} points",
        interval=f"{pair.low * 100:+.0f} to {pair.high * 100:+.0f}",
        p=_p_words(pair.p_corrected),
        cases=pair.cases,
        verdict=pair.verdict,
        detail=detail,
        style=f"verdict-{pair.verdict.split()[0]}",
    )


def _p_words(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanCell:
    """The mean of a value, and how sure it is."""

    mean: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLine:
    """A line of the table of means."""

    name: str
    cells: list[MeanCell]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeansView:
    """The means of values by the rows of the heat map."""

    names: list[str]
    rows: list[MeanLine]


def means_view(data: ReportData) -> MeansView | None:
    """The means of the numeric values of answers as a table; None without any."""
    names = list(dict.fromkeys(name for row in data.means for name in row.means))[:_MOST_NAMES]
    if not names:
        return None
    return MeansView(
        names=names,
        rows=[
            MeanLine(name=row.name, cells=[_mean_cell(row.means.get(name)) for name in names])
            for row in data.means
        ],
    )


def _mean_cell(mean: ValueMean | None) -> MeanCell:
    if mean is None:
        return MeanCell(mean=UNKNOWN, detail="")
    interval = "no interval"
    if mean.low is not None and mean.high is not None:
        interval = f"{mean.low:.4g} to {mean.high:.4g}"
    return MeanCell(
        mean=f"{mean.mean:.4g}", detail=f"{interval}, {quantity(mean.answers, 'answer')}"
    )
