"""Measures of a judge's agreement with people, over scores in 0..1."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

_BINS = 5


def mean_absolute_error(judged: Sequence[float], human: Sequence[float]) -> float:
    """The mean of |judge - human| over scores in 0..1, so itself in 0..1.

    Both in the same order. Raises ValueError if they have different lengths, ZeroDivisionError if they are
    empty.
    """
    pairs = list(zip(judged, human, strict=True))
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def krippendorff_alpha(units: Sequence[Sequence[float]]) -> float | None:
    """Krippendorff's alpha for interval data: 1 is agreement, 0 what chance gives, below 0 worse.

    Each unit holds the scores that its raters gave; units with fewer than two are left out. None where
    alpha is not defined: fewer than two units are left, or no score differs from any other.

    alpha = 1 - D_o / D_e over the n scores of all units with m_u >= 2 scores, where
    D_o = 1/n * sum over u of 1/(m_u - 1) * sum over i != j in u of (v_i - v_j)**2 and
    D_e = 1/(n (n - 1)) * sum over i != j of all n of (v_i - v_j)**2.
    Source: Krippendorff: Computing Krippendorff's alpha-reliability (University of Pennsylvania, 2011).
    """
    compared = [unit for unit in units if len(unit) > 1]
    scores = [score for unit in compared for score in unit]
    if len(compared) < 2 or len(set(scores)) < 2:
        return None
    within = sum(_squares(unit) / (len(unit) - 1) for unit in compared) / len(scores)
    between = _squares(scores) / (len(scores) * (len(scores) - 1))
    return 1 - within / between


def _squares(scores: Sequence[float]) -> float:
    """The squared differences of all ordered pairs, summed over distances from their mean instead."""
    mean = fsum(scores) / len(scores)
    return 2 * len(scores) * fsum((score - mean) ** 2 for score in scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How often judge and people disagree about passing, out of the replies that people fail or pass."""

    false_negatives: int
    failing: int
    false_positives: int
    passing: int


def errors_at(judged: Sequence[float], human: Sequence[float], threshold: float) -> Errors:
    """How often judge and people disagree about passing, which takes a score of at least `threshold`.

    A false negative is a reply that people fail and the judge lets pass. Both in the same order; raises
    ValueError if they have different lengths.
    """
    pairs = [(a >= threshold, b >= threshold) for a, b in zip(judged, human, strict=True)]
    return Errors(
        false_negatives=sum(judge and not person for judge, person in pairs),
        failing=sum(not person for _, person in pairs),
        false_positives=sum(person and not judge for judge, person in pairs),
        passing=sum(person for _, person in pairs),
    )


def picture(judged: Sequence[float], human: Sequence[float]) -> str:
    """Counts of replies by human score (up) and judge's score (across), in five steps each, as lines of text.

    Both in the same order; a judge that agrees with people fills the rising diagonal.
    """
    counts = [[0] * _BINS for _ in range(_BINS)]
    for judge, person in zip(judged, human, strict=True):
        counts[_bin(person)][_bin(judge)] += 1
    lines = ["human"]
    for row in reversed(range(_BINS)):
        cells = "".join(f"{count or '.':>6}" for count in counts[row])
        lines.append(f"  {_step(row)} |{cells}")
    lines.append("          +" + "-" * 6 * _BINS)
    lines.append(
        " " * 11 + "".join(f"{column / _BINS:>6.1f}" for column in range(_BINS)) + "  judge, from"
    )
    return "\n".join(lines)


def _bin(score: float) -> int:
    return min(int(score * _BINS), _BINS - 1)


def _step(row: int) -> str:
    return f"{row / _BINS:.1f}-{(row + 1) / _BINS:.1f}"
