"""Which of many scores stand out.

q-values are offered only where both sides have at least 16 splits: below that the far tails of a t distribution do not
describe differences of mean losses, and a correction for thousands of tests lives in those tails.

Shapes: U units.
"""

import numpy as np
from numpy.typing import NDArray

MINIMUM_FOR_Q = 16


def benjamini_hochberg(
    p_values: NDArray[np.float64], n_in: NDArray[np.integer], n_out: NDArray[np.integer]
) -> NDArray[np.float64]:
    """q-values of Benjamini and Hochberg (1995), (U,); NaN where a side has fewer than 16 splits or p is NaN."""
    p_values = np.asarray(p_values, dtype=np.float64)
    usable = np.isfinite(p_values) & (n_in >= MINIMUM_FOR_Q) & (n_out >= MINIMUM_FOR_Q)
    if usable.all():  # millions of units: no copies
        return _adjusted(p_values)
    q_values = np.full(p_values.shape, np.nan)
    q_values[usable] = _adjusted(p_values[usable])
    return q_values


def _adjusted(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(U,) the least of p * tests / rank over all p-values that are no smaller, at most 1."""
    tests = len(p_values)
    order = np.argsort(p_values)
    raised = p_values[order]
    raised *= tests / np.arange(1, tests + 1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return adjusted
