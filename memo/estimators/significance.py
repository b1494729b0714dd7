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
    usable = np.isfinite(p_values) & (np.minimum(n_in, n_out) >= MINIMUM_FOR_Q)
    q_values = np.full(p_values.shape, np.nan)
    tested = p_values[usable]
    order = np.argsort(tested)
    # The least of p * tests / rank over all p-values that are no smaller.
    raised = tested[order] * (len(tested) / np.arange(1, len(tested) + 1))
    adjusted = np.empty_like(tested)
    adjusted[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    q_values[usable] = adjusted
    return q_values
