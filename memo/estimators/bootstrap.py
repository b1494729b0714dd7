"""A block bootstrap: intervals that assume nothing about the shape of the losses.

Whole blocks of splits are drawn with replacement, because inside a block a balanced design fixes how many splits are on
each side. At few blocks such an interval is too short (measured: it covers 81 to 89 % instead of 95 %), so fewer than
30 are refused.

Shapes: M models, D columns, K blocks, B resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import Bools, Floats
from memo.estimators.scores import CONFIDENCE
from memo.estimators.sums import Sums, sums

MINIMUM_BLOCKS = 30
VALUES = 4_000_000  # resampled scores held at a time


@dataclass(frozen=True)
class Bootstrap:
    """(D,) each. NaN where a side is empty in the sample, or was in a resample."""

    memorization: Floats
    se: Floats
    ci_low: Floats
    ci_high: Floats


def block_bootstrap(
    losses: NDArray[np.floating],
    included: Bools,
    blocks: NDArray[np.integer],
    rng: np.random.Generator,
    valid: Bools | None = None,
    resamples: int = 2000,
    confidence: float = CONFIDENCE,
) -> Bootstrap:
    """Standard errors and percentile intervals. losses, included, valid: (M, D); blocks: (M,) block of every split.

    Raises ValueError below 30 blocks. The same draws serve every column, as a resampled campaign would.
    """
    number = len(np.unique(np.asarray(blocks)))
    if number < MINIMUM_BLOCKS:
        raise ValueError(
            f"a block bootstrap needs {MINIMUM_BLOCKS} blocks of splits, found {number}; "
            "below that its intervals are too short: take the t interval of `memorization`"
        )
    found = sums(losses, included, valid, blocks)
    weights = rng.multinomial(number, np.full(number, 1 / number), size=resamples).astype(np.float64)  # (B, K)
    columns = found.count.shape[2]
    result = np.empty((4, columns))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    for start in range(0, columns, max(1, VALUES // resamples)):
        part = slice(start, start + max(1, VALUES // resamples))
        resampled = _gaps(found, part, weights)
        result[0, part] = _gaps(found, part, np.ones((1, number)))[0]
        result[1, part] = resampled.std(axis=0, ddof=1)
        result[2:, part] = np.quantile(resampled, tails, axis=0)
    return Bootstrap(*result)


def _gaps(found: Sums, columns: slice, weights: Floats) -> Floats:
    """(B, D) scores of campaigns in which each block stands as often as its weight (B, K)."""
    count, mean = found.count[:, :, columns], found.mean[:, :, columns]
    balanced = (count >= 2).all(axis=(0, 1))  # by the rule of `memorization`: a mean over blocks, else over splits
    share = np.where(balanced, 1.0, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_in, mean_out = ((weights @ (share[s] * mean[s])) / (weights @ share[s]) for s in (0, 1))
    gaps: Floats = mean_out - mean_in
    return gaps
