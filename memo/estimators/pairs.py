"""Paired scores of a complement design: two splits of a pair are opposite, so each document is in one of them.

With d_j = loss of the model that left the document out - loss of the one that took it in, over J pairs,

    memorization = mean of d_j,   SE^2 = variance of d_j / J,   J - 1 degrees of freedom

(the paired t test). A campaign with the base complement gets the same from `memo.estimators.stratified`, with each pair
a block. Each pair of models takes out what two opposite splits have in common; a difference of means over
the same splits would not.

Shapes: M models, D columns, J pairs.
"""

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import Bools, Ints, check_contrast, checked_shapes, checked_values
from memo.estimators.scores import CONFIDENCE, Memorization, memorization_of
from memo.estimators.stratified import MINIMUM_FOR_ERROR, Totals


def paired_memorization(
    losses: NDArray[np.floating],
    included: Bools,
    pairs: NDArray[np.integer],
    valid: Bools | None = None,
    confidence: float = CONFIDENCE,
) -> Memorization:
    """Scores from complement pairs. losses, included, valid: (M, D) as in `memorization`; pairs: (J, 2) rows of them.

    A pair counts for a column where both of its splits do; `n_in` and `n_out` are the pairs that count. Raises
    ValueError for a split that stands in two pairs (or twice in one), and for a pair that is not opposite.
    """
    values, included, valid, _ = checked_shapes(losses, included, valid, None)
    check_contrast(included)
    values = checked_values(values, valid, "losses").astype(np.float64, copy=False)
    first, second = _checked_pairs(pairs, len(values)).T
    counts = np.ones((len(first), values.shape[1]), bool) if valid is None else valid[first] & valid[second]
    together = counts & (included[first] == included[second])
    if together.any():
        pair, column = np.argwhere(together)[0]
        raise ValueError(
            f"pairs[{pair}] = ({first[pair]}, {second[pair]}): expected opposite splits, found column {column} "
            f"{'in' if included[first[pair], column] else 'left out of'} both"
        )
    loss_in = np.where(included[first], values[first], values[second])
    loss_out = np.where(included[first], values[second], values[first])
    number = counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_in, mean_out = (np.where(counts, side, 0).sum(axis=0) / number for side in (loss_in, loss_out))
        deviations = np.where(counts, loss_out - loss_in - (mean_out - mean_in), 0.0)
        spare = np.where(number >= MINIMUM_FOR_ERROR, number - 1.0, np.nan)
        se = np.sqrt((deviations**2).sum(axis=0) / spare / number)
    return memorization_of(Totals(mean_in, mean_out, se, spare, number, number), confidence)


def _checked_pairs(pairs: NDArray[np.integer], models: int) -> Ints:
    found = np.asarray(pairs)
    if found.ndim != 2 or found.shape[1] != 2 or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"pairs: expected integers of shape (J, 2), found {found.dtype} {found.shape}")
    if found.size and not 0 <= found.min() <= found.max() < models:
        raise ValueError(f"pairs: expected rows of {models} models, found {found.min()} to {found.max()}")
    seen, times = np.unique(found, return_counts=True)
    if (times > 1).any():
        split, places = seen[times > 1][0], times[times > 1][0]
        raise ValueError(f"pairs: expected every split in one pair at most, found split {split} in {places} places")
    return found.astype(np.int64)
