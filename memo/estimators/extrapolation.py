"""Agreement in ranks, what more models would make of it, and the smallest score that would show.

Shapes: D columns (documents).
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MINIMUM_DOCUMENTS = 3  # below, a rank correlation is -1, 0 or 1 whatever the scores
POWER, CONFIDENCE = 0.8, 0.95


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's, over the documents that have both scores; NaN for fewer than three, or where all are equal."""
    from scipy.stats import rankdata

    both = np.isfinite(first) & np.isfinite(second)
    if np.count_nonzero(both) < MINIMUM_DOCUMENTS:
        return math.nan
    ranks = [rankdata(values[both]) - (np.count_nonzero(both) + 1) / 2 for values in (first, second)]
    spread = math.sqrt(float(ranks[0] @ ranks[0]) * float(ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1]) / spread if spread > 0 else math.nan


def spearman_brown(reliability: float, factor: float) -> float:
    """Reliability with `factor` times the models. A correlation below 0 is chance around 0 and counts as 0."""
    known = max(reliability, 0.0) if not math.isnan(reliability) else math.nan
    return factor * known / (1 + (factor - 1) * known)


def models_for(reliability: float, models: int, wanted: float) -> int | None:
    """Models that reach the wanted reliability, where `models` have `reliability`; None where none would.

    Spearman-Brown solved for the factor: wanted (1 - r) / (r (1 - wanted)).
    """
    if not 0 < wanted < 1:
        raise ValueError(f"wanted reliability: expected a number between 0 and 1, found {wanted}")
    if not reliability > 0:  # NaN as well
        return None
    factor = wanted * (1 - reliability) / (reliability * (1 - wanted))
    return max(1, math.ceil(models * factor - 1e-9))


def resolvable_gap(
    se: float | Floats, degrees: float | Floats, power: float = POWER, confidence: float = CONFIDENCE
) -> Floats:
    """Smallest true score whose interval lies above 0 with this power; NaN where there is no standard error.

    score / se is noncentral Student with noncentrality (true score / SE), and the interval excludes 0 where it exceeds
    the critical value. (That it excludes 0 on the wrong side has a probability below 1e-6 and is left out.)
    """
    from scipy import special

    critical = special.stdtrit(degrees, 0.5 + confidence / 2)
    noncentrality: Floats = special.nctdtrinc(degrees, 1 - power, critical)
    return noncentrality * np.asarray(se, dtype=np.float64)
