"""What more copies of a document do to a model's grasp of it, from splits that have it so many times.

    score(c, i) = mean of l[m, i] over the models that trained on no copy of i - mean over those that trained on c

in nats per token, positive = memorized; score(1) is counterfactual memorization. Standard errors are stratified by
block (`memo.estimators.stratified`). The scores of a document share the models without it, so they are not independent.

The *dose curve* is the mean over documents. Their coins are independent, so what a model does to all of its documents
alike averages out, and documents are the sample: SE = standard deviation of score(c, i) over documents / sqrt(D), with
D - 1 degrees of freedom.

Shapes: M models, D documents, C doses (the numbers of copies but 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import Bools, Floats, Ints, checked_shapes
from memo.estimators.scores import CONFIDENCE, Memorization, memorization_of
from memo.estimators.stratified import MINIMUM_FOR_ERROR
from memo.estimators.student import interval
from memo.estimators.sums import sums


@dataclass(frozen=True)
class DoseCurve:
    """Mean over documents, (C,) each. Nats per token; NaN where no document has a score, errors where fewer than 2."""

    copies: Ints
    memorization: Floats
    se: Floats
    ci_low: Floats
    ci_high: Floats
    documents: Ints


def copies_scores(
    losses: NDArray[np.floating],
    copies: NDArray[np.integer],
    counts: Sequence[int],
    valid: Bools | None = None,
    blocks: NDArray[np.integer] | None = None,
    confidence: float = CONFIDENCE,
) -> dict[int, Memorization]:
    """The score of every dose, (D,) each: {copies: scores}; `n_in` and `loss_in` are those of that dose.

    losses: (M, D) nats per token. copies: (M, D) how often each model trained on each document. counts: the numbers
    that were drawn, 0 among them. valid: (M, D); all splits by default. blocks: (M,); one block by default.

    Raises ValueError for shapes that differ, for losses that are NaN, infinite or negative, and where `counts` lacks 0.
    """
    if 0 not in counts:
        raise ValueError(f"counts: expected 0 among them, which the others are held to, found {list(counts)}")
    there = np.asarray(copies)
    values, _, usable, block_of = checked_shapes(losses, there > 0, valid, blocks)
    found = {}
    for count in sorted(set(counts) - {0}):
        near = there == count
        cells = near | (there == 0)
        found[int(count)] = memorization_of(
            sums(values, near, cells if usable is None else cells & usable, block_of), confidence
        )
    return found


def dose_curve(scores: dict[int, Floats], confidence: float = CONFIDENCE) -> DoseCurve:
    """The mean over documents. scores: {copies: (D,) scores}, NaN for a document without one."""
    doses = np.array(sorted(scores), dtype=np.int64)
    columns = [np.asarray(scores[int(dose)], dtype=np.float64) for dose in doses]
    known = [column[np.isfinite(column)] for column in columns]
    number = np.array([len(values) for values in known], dtype=np.int64)
    mean = np.array([values.mean() if len(values) else np.nan for values in known])
    several = [len(values) >= MINIMUM_FOR_ERROR for values in known]
    se = np.array(
        [v.std(ddof=1) / np.sqrt(len(v)) if enough else np.nan for v, enough in zip(known, several, strict=True)]
    )
    low, high, _ = interval(mean, se, np.where(several, number - 1.0, np.nan), confidence)
    return DoseCurve(doses, mean, se, low, high, number)
