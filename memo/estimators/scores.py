"""Counterfactual memorization from a matrix of losses and the coins that decided it.

    memorization(i) = mean of l[m, i] over models m that did not train on i - mean over models that did

(Zhang et al. 2021, arXiv 2112.12938, equation 1, there with accuracy and the opposite sign.) Positive = memorized.

Standard errors are stratified by block, because a balanced design fixes the number of splits on each side in every
block. With K blocks, and s2, n the variance and number of losses on one side of one block,

    SE^2 = K^-2 * sum over blocks of (s2_in / n_in + s2_out / n_out)

and the degrees of freedom are Satterthwaite's (1946): with one block this is Welch's t test. A unit that lacks two
splits on a side of some block is not balanced by block, and all its splits are taken as one block.

Shapes: M models, D columns (documents, or groups of them), K blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

MINIMUM_FOR_ERROR = 2
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


@dataclass(frozen=True)
class _Side:
    """Means of one side (in or out), per block and column: (K, D)."""

    count: Floats
    mean: Floats
    variance_of_mean: Floats


def memorization(
    losses: NDArray[np.floating],
    included: Bools,
    valid: Bools | None = None,
    blocks: NDArray[np.integer] | None = None,
    confidence: float = 0.95,
) -> Memorization:
    """Scores, standard errors and t intervals.

    losses: (M, D) nats per token. included: (M, D), True where the column's unit was in the split. valid: (M, D), True
    where the split counts for the unit; all by default. blocks: (M,) block of every split; one block by default.

    `p_value` is two-sided for the hypothesis that the score is zero. NaN with a reason: no score where a side is empty,
    no standard error below two splits a side. Raises ValueError for shapes that differ, for NaN or infinite losses.
    """
    values, included, counts, block_ids = _checked(losses, included, valid, blocks)
    inside, outside = included & counts, ~included & counts
    n_in, n_out = inside.sum(axis=0), outside.sum(axis=0)
    _, block_of = np.unique(block_ids, return_inverse=True)
    stratified = _balanced(inside, outside, block_of)
    parts = [_contrast(values, inside, outside, np.zeros_like(block_of))]
    if block_of.max(initial=0) > 0:
        parts.append(_contrast(values, inside, outside, block_of))
    loss_in, loss_out, se, degrees = (
        np.where(stratified, by_block, pooled) for pooled, by_block in zip(parts[0], parts[-1], strict=True)
    )
    gap = loss_out - loss_in
    low, high, p_value = _student(gap, se, degrees, confidence)
    return Memorization(gap, se, degrees, low, high, p_value, loss_in, loss_out, n_in, n_out, _reasons(n_in, n_out))


def _checked(
    losses: NDArray[np.floating], included: Bools, valid: Bools | None, blocks: NDArray[np.integer] | None
) -> tuple[Floats, Bools, Bools, Ints]:
    values: Floats = np.asarray(losses, dtype=np.float64)
    included = np.asarray(included)
    if values.ndim != 2 or included.shape != values.shape:
        raise ValueError(f"expected losses and included of one shape (M, D), found {values.shape} and {included.shape}")
    if included.dtype != np.bool_:
        raise ValueError(f"included: expected booleans, found {included.dtype}")
    counts: Bools = np.ones(values.shape, dtype=np.bool_) if valid is None else np.asarray(valid)
    if counts.shape != values.shape or counts.dtype != np.bool_:
        raise ValueError(f"valid: expected booleans of shape {values.shape}, found {counts.dtype} {counts.shape}")
    block_of: Ints = np.zeros(len(values), dtype=np.int64) if blocks is None else np.asarray(blocks, dtype=np.int64)
    if block_of.shape != values.shape[:1]:
        raise ValueError(f"blocks: expected one per model, shape {values.shape[:1]}, found {block_of.shape}")
    bad = ~np.isfinite(values) & counts
    if bad.any():
        model, column = np.argwhere(bad)[0]
        raise ValueError(f"losses[{model}, {column}]: expected a finite loss, found {values[model, column]}")
    return values, included, counts, block_of


def _balanced(inside: Bools, outside: Bools, block_of: Ints) -> Bools:
    """(D,) True where every block has at least two splits on either side."""
    fine = np.ones(inside.shape[1], dtype=bool)
    for block in range(block_of.max(initial=0) + 1):
        rows = block_of == block
        for side in (inside, outside):
            fine &= side[rows].sum(axis=0) >= MINIMUM_FOR_ERROR
    return fine


def _side(losses: Floats, member: Bools, block_of: Ints) -> _Side:
    blocks = range(block_of.max(initial=0) + 1)
    count, mean, variance = (np.empty((len(blocks), losses.shape[1])) for _ in range(3))
    for block in blocks:
        rows = block_of == block
        here = member[rows]
        values = losses[rows]
        count[block] = here.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean[block] = np.where(here, values, 0.0).sum(axis=0) / count[block]
            deviations = np.where(here, values - mean[block], 0.0)
            variance[block] = (deviations**2).sum(axis=0) / (count[block] - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance_of_mean = np.where(count >= MINIMUM_FOR_ERROR, variance / count, np.nan)
    return _Side(count, mean, variance_of_mean)


def _contrast(losses: Floats, inside: Bools, outside: Bools, block_of: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """loss_in, loss_out, standard error and Satterthwaite's degrees of freedom, each (D,)."""
    sides = [_side(losses, member, block_of) for member in (inside, outside)]
    number = block_of.max(initial=0) + 1
    loss_in, loss_out = (side.mean.mean(axis=0) for side in sides)
    terms = np.concatenate([side.variance_of_mean for side in sides]) / number**2  # (2K, D)
    counts = np.concatenate([side.count for side in sides])
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = terms.sum(axis=0)
        degrees = variance**2 / (terms**2 / (counts - 1)).sum(axis=0)
    return loss_in, loss_out, np.sqrt(variance), degrees


def _student(gap: Floats, se: Floats, degrees: Floats, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Ends of the t interval and the two-sided p-value.

    Losses without any spread have a standard error of 0: the interval is the gap itself, and the p-value 0, or NaN
    where the gap is 0 as well, as in scipy.
    """
    from scipy import special

    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.where(se == 0, 0.0, special.stdtrit(degrees, 0.5 + confidence / 2) * se)
        statistic = np.abs(gap) / se
        p_value = np.where(np.isinf(statistic), 0.0, 2 * special.stdtr(degrees, -statistic))
    return gap - half, gap + half, np.where(np.isnan(se), np.nan, p_value)


def _reasons(n_in: Ints, n_out: Ints) -> NDArray[np.object_]:
    reason = np.full(n_in.shape, None, dtype=object)
    reason[np.minimum(n_in, n_out) < MINIMUM_FOR_ERROR] = NO_ERROR
    reason[n_in == 0] = "in no split: no score"
    reason[n_out == 0] = "left out of no split: no score"
    reason[(n_in == 0) & (n_out == 0)] = "in no split that counts: no score"
    return reason
