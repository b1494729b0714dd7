"""Intervals and p-values of Student's t distribution, for millions of fractional degrees of freedom.

Shapes: D columns.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CHEBYSHEV_DEGREE = 24
HILL_DEGREES = 200


@lru_cache(maxsize=32)
def _coefficients(confidence: float) -> tuple[float, ...]:
    """Chebyshev series of log t(1 / u) in u = 1 / degrees of freedom, on 0 < u <= 1."""
    from numpy.polynomial import chebyshev
    from scipy import special

    nodes = np.cos(np.pi * (np.arange(CHEBYSHEV_DEGREE + 1) + 0.5) / (CHEBYSHEV_DEGREE + 1))
    quantiles = special.stdtrit(2 / (nodes + 1), 0.5 + confidence / 2)
    return tuple(chebyshev.chebfit(nodes, np.log(quantiles), CHEBYSHEV_DEGREE).tolist())


def t_quantile(degrees: Floats, confidence: float) -> Floats:
    """Half the width of a two-sided interval, in standard errors; NaN where `degrees` is.

    Inverting the distribution takes a root search for every value. Its logarithm is smooth in 1 / degrees, and
    Satterthwaite's degrees of freedom are at least 1: a Chebyshev series of degree 24 agrees with scipy to 3e-14
    relative between 80 % and 99 %, to 1e-11 up to 99.9 % (tested).
    """
    from numpy.polynomial import chebyshev

    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, found {confidence}")
    inverse = np.minimum(1 / np.asarray(degrees, dtype=np.float64), 1.0)
    quantile: Floats = np.exp(chebyshev.chebval(2 * inverse - 1, np.array(_coefficients(confidence))))
    return quantile


def degrees_of(quantile: Floats, confidence: float) -> Floats:
    """The degrees of freedom, at least 1, whose `t_quantile` this is; infinite below the normal one, NaN for NaN."""
    from scipy import special

    wanted = np.asarray(quantile, dtype=np.float64)
    low, high = np.zeros(wanted.shape), np.ones(wanted.shape)  # of 1 / degrees, with which the quantile rises
    for _ in range(50):
        middle = (low + high) / 2
        with np.errstate(divide="ignore"):
            above = t_quantile(1 / middle, confidence) > wanted
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    with np.errstate(divide="ignore"):
        found = np.where(wanted <= special.ndtri(0.5 + confidence / 2), np.inf, 2 / (low + high))
    return np.where(np.isnan(wanted), np.nan, found)


def interval(gap: Floats, se: Floats, degrees: Floats, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Ends of the t interval and the two-sided p-value for a gap of zero: (D,) each.

    Losses without any spread have a standard error of 0: the interval is the gap itself, and the p-value 0, or NaN
    where the gap is 0 as well, as in scipy.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.where(se == 0, 0.0, t_quantile(degrees, confidence) * se)
        statistic = np.abs(gap) / se
        p_value = np.where(np.isinf(statistic), 0.0, two_sided(statistic, degrees))
    return gap - half, gap + half, np.where(np.isnan(se), np.nan, p_value)


def two_sided(statistic: Floats, degrees: Floats) -> Floats:
    """(D,) the probability of |t| at least `statistic`, which is not negative.

    From 200 degrees of freedom on by Hill's normal deviate (1970, Algorithm 395, Communications of the ACM 13, 617),
    ten times as fast as scipy and equal to it to 1e-11 relative down to 1e-12, to 2e-4 down to 1e-290 (tested).
    """
    from scipy import special

    many = degrees >= HILL_DEGREES
    if not many.any():
        return 2 * special.stdtr(degrees, -statistic)
    a = degrees - 0.5
    b = 48 * a * a
    y = a * np.log1p(statistic * statistic / degrees)
    deviate = (((((-0.4 * y - 3.3) * y - 24) * y - 85.5) / (0.8 * y * y + 100 + b) + y + 3) / b + 1) * np.sqrt(y)
    p_value: Floats = 2 * special.ndtr(-deviate)
    few = ~many
    if few.any():
        p_value[few] = 2 * special.stdtr(degrees[few], -statistic[few])
    return p_value
