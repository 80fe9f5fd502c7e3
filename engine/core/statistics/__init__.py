"""Statistics of samples: rates, differences, curves and means with their intervals.

Each function states its formula, units and source; docs/explanation/statistics.md says when each is
used and how often its interval covers. Nothing here draws random numbers.
"""

from engine.core.statistics.curves import any_failure_in_k, band_half_width
from engine.core.statistics.means import (
    MeanInterval,
    PairedMeans,
    clustered_mean,
    paired_mean_difference,
)
from engine.core.statistics.pairs import (
    SIGNIFICANCE,
    DifferenceInterval,
    PairedComparison,
    compare_pairs,
    difference_of_intervals,
    holm,
    paired_difference,
)
from engine.core.statistics.planning import (
    RatePrecision,
    VarianceComponents,
    cases_needed,
    detectable_difference,
    rate_precision,
    repeats_needed,
    variance_components,
)
from engine.core.statistics.quantiles import Z_95, normal_quantile, t_quantile
from engine.core.statistics.rates import (
    Counts,
    Method,
    RateInterval,
    clustered_rate,
    failure_rate,
    layered_rate,
    rate_bounds,
    rate_interval,
    wilson,
    wilson_of_rate,
)
from engine.core.statistics.sign_flips import sign_flip_p

__all__ = [
    "SIGNIFICANCE",
    "Z_95",
    "Counts",
    "DifferenceInterval",
    "MeanInterval",
    "Method",
    "PairedComparison",
    "PairedMeans",
    "RateInterval",
    "RatePrecision",
    "VarianceComponents",
    "any_failure_in_k",
    "band_half_width",
    "cases_needed",
    "clustered_mean",
    "clustered_rate",
    "compare_pairs",
    "detectable_difference",
    "difference_of_intervals",
    "failure_rate",
    "holm",
    "layered_rate",
    "normal_quantile",
    "paired_difference",
    "paired_mean_difference",
    "rate_bounds",
    "rate_interval",
    "rate_precision",
    "repeats_needed",
    "sign_flip_p",
    "t_quantile",
    "variance_components",
    "wilson",
    "wilson_of_rate",
]
