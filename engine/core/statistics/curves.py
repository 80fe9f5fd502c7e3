"""What scores and repeated answers tell besides one rate: the whole curve, and flaky cases."""

from math import comb, log, sqrt


def band_half_width(cases: int, confidence: float = 0.95) -> float | None:
    """Half the width of the band around a failure rate by threshold, in 0..1; None without cases.

    The failure rate at a threshold is the share of scores below it, so the rate at all thresholds
    is the distribution of scores. With probability `confidence` the true curve lies within this
    distance at all thresholds at once: sqrt(log(2 / (1 - confidence)) / (2 · cases)). Independent are
    the cases, not their tests. Sources: A. Dvoretzky, J. Kiefer and J. Wolfowitz, Annals of
    Mathematical Statistics 27 (1956), 642-669; the constant: P. Massart, Annals of Probability 18
    (1990), 1269-1283.
    """
    assert cases >= 0, f"{cases} cases"
    assert 0 < confidence < 1, f"the confidence {confidence}"
    return sqrt(log(2 / (1 - confidence)) / (2 * cases)) if cases else None


def any_failure_in_k(failed: int, total: int, k: int) -> float | None:
    """The chance that at least one of `k` answers of a case fails, in 0..1, from `total` answers.

    The share of all selections of k answers that contain a failure: 1 - C(total - failed, k) /
    C(total, k). It is unbiased, unlike 1 - (1 - failed / total)^k. None if fewer than `k` answers
    were measured. Source: M. Chen and others, "Evaluating large language models trained on code",
    arXiv:2107.03374, 2021 (there for passes).
    """
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    assert k > 0, f"{k} answers"
    return 1 - comb(total - failed, k) / comb(total, k) if k <= total else None
