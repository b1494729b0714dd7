"""Counterfactual memorization from a matrix of losses and the coins that decided it.

    memorization(i) = mean of l[m, i] over models m that did not train on i - mean over models that did

(Zhang et al. 2021, arXiv 2112.12938, equation 1, there with accuracy and the opposite sign.) Positive = memorized.
Standard errors are stratified by block: see `memo.estimators.stratified`.

Shapes: M models, D columns (documents, or groups of them).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import Bools, Floats, Ints, check_contrast, checked_shapes
from memo.estimators.stratified import MINIMUM_FOR_ERROR, Totals
from memo.estimators.student import interval
from memo.estimators.sums import Sums, sums

CONFIDENCE = 0.95
NO_ERROR = "fewer than 2 splits on a side: no standard error"


@dataclass(frozen=True)
class Memorization:
    """One value per column, shape (D,). Losses in nats per token; NaN where `reason` says why."""

    memorization: Floats
    se: Floats
    degrees: Floats
    ci_low: Floats
    ci_high: Floats
    p_value: Floats
    loss_in: Floats
    loss_out: Floats
    n_in: Ints
    n_out: Ints
    reason: NDArray[np.object_]


def memorization(
    losses: NDArray[np.floating],
    included: Bools,
    valid: Bools | None = None,
    blocks: NDArray[np.integer] | None = None,
    confidence: float = CONFIDENCE,
) -> Memorization:
    """Scores, standard errors and t intervals.

    losses: (M, D) nats per token. included: (M, D), True where the column's unit was in the split. valid: (M, D), True
    where the split counts for the unit; all by default. blocks: (M,) block of every split; one block by default.

    `p_value` is two-sided for the hypothesis that the score is zero. NaN with a reason: no score where a side is empty,
    no standard error below two splits a side. Raises ValueError for shapes that differ, for losses that are NaN,
    infinite or negative, for a single model and where all masks are equal.
    """
    values, included, valid, block_of = checked_shapes(losses, included, valid, blocks)
    check_contrast(included)
    return memorization_of(sums(values, included, valid, block_of), confidence)


def memorization_of(found: Sums | Totals, confidence: float = CONFIDENCE) -> Memorization:
    """Scores from sums that were computed before, and perhaps elsewhere."""
    totals = found.totals() if isinstance(found, Sums) else found
    gap = totals.loss_out - totals.loss_in
    low, high, p_value = interval(gap, totals.se, totals.degrees, confidence)
    return Memorization(
        memorization=gap,
        se=totals.se,
        degrees=totals.degrees,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        loss_in=totals.loss_in,
        loss_out=totals.loss_out,
        n_in=totals.n_in,
        n_out=totals.n_out,
        reason=reasons(totals.n_in, totals.n_out),
    )


def reasons(n_in: Ints, n_out: Ints) -> NDArray[np.object_]:
    """(D,) why a score or its standard error is missing; None where neither is."""
    reason = np.full(n_in.shape, None, dtype=object)
    if len(n_in) and min(n_in.min(), n_out.min()) >= MINIMUM_FOR_ERROR:
        return reason
    reason[np.minimum(n_in, n_out) < MINIMUM_FOR_ERROR] = NO_ERROR
    reason[n_in == 0] = "in no split: no score"
    reason[n_out == 0] = "left out of no split: no score"
    reason[(n_in == 0) & (n_out == 0)] = "in no split that counts: no score"
    return reason
