"""Influence of every document on every text, from the losses of models trained on random subsets.

    influence(i -> j) = mean loss of text j over models that did not train on i - mean over models that did

(counterfactual influence of Zhang et al. 2021, arXiv 2112.12938, there with accuracy and the opposite sign). Positive =
training on i helps with j, in nats per token; influence(i -> i) is the memorization of i, and influence(i -> j) may
exceed it.

Sums over models are products of matrices in float64: with c the losses of a text less their mean over all models, and
In, Out the 0/1 matrices of the two sides,

    In^T c, In^T c^2, Out^T c, Out^T c^2        sums S1 and sums of squares S2, (D, T) each, block by block

and the variance of a side's mean is S2 / (n (n - 1)) - (S1 / n)^2 / (n - 1), at least 0. The rest is as in
`memo.estimators.stratified`: SE^2 is the mean over blocks of the sum over sides, divided by their number; degrees of
freedom are Satterthwaite's with one variance a side; a document that lacks two models on a side of some block has its
block differences taken as the sample where its blocks are alike, and else all its models as one block. What cancels is
about 1e-16 of the text's variance over all models, so a side without any spread has a variance near that instead of 0.

Cost: 8 M D T multiplications, and 3 values of 8 bytes for each pair. 400 models of 10,000 documents on 10,000 texts:
28 s as one block, 110 s as 25 blocks, on two cores that others used as well.

Shapes: M models, D documents trained on, T texts evaluated, K blocks; d documents and t texts of one tile.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import Bools, Floats, Ints, as_floats, checked_values
from memo.estimators.stratified import MINIMUM_FOR_ERROR

# Of 2048 documents by default: few and large products wait less for each other on a busy machine than many small ones.
TILE_TEXTS = 2048


@dataclass(frozen=True)
class Influence:
    """influence, se and degrees: (D, T), nats per token; n_in and n_out, the models on either side: (D,).

    A row is NaN where a side is empty; its `se` and `degrees` are NaN where a side has fewer than 2 models.
    """

    influence: Floats
    se: Floats
    degrees: Floats
    n_in: Ints
    n_out: Ints


def influence(
    losses: NDArray[np.floating],
    included: Bools,
    valid: Bools | None = None,
    blocks: NDArray[np.integer] | None = None,
    chunk: int = 1 << 22,
) -> Influence:
    """Influence of the documents trained on (D) on the texts evaluated (T), with standard errors.

    losses: (M, T) nats per token. included: (M, D), True where the model trained on the document. valid: (M, D), True
    where the model counts for the document; all by default. blocks: (M,) block of every model; one block by default.
    chunk: values of the result that are worked on at a time; beside the result, some 100 bytes each are needed, and
    the losses of so many texts in float64.

    Raises ValueError for shapes that do not fit, masks that are not boolean, losses that are NaN, infinite or negative.
    """
    losses, included = as_floats(losses, "losses"), np.asarray(included)
    counts = np.ones(included.shape, dtype=np.bool_) if valid is None else np.asarray(valid)
    block_ids = np.zeros(len(losses), dtype=np.int64) if blocks is None else np.asarray(blocks)
    _check(losses, included, counts, block_ids)
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1 value, found {chunk}")
    block_of = np.unique(block_ids, return_inverse=True)[1].astype(np.int64)
    documents, texts = included.shape[1], losses.shape[1]
    found = tuple(np.empty((documents, texts)) for _ in range(3))
    width = max(1, min(texts, TILE_TEXTS, chunk))
    height = max(1, min(documents, chunk // width))
    for first in range(0, texts, width):
        tile = losses[:, first : first + width].astype(np.float64)
        tile -= tile.mean(axis=0)  # or sums of squares would lose the digits that matter
        for row in range(0, documents, height):
            inside, here = included[:, row : row + height], counts[:, row : row + height]
            parts = _tile(tile, inside & here, ~inside & here, block_of)
            for whole, part in zip(found, parts, strict=True):
                whole[row : row + height, first : first + width] = part
    n_in, n_out = ((counts & side).sum(axis=0) for side in (included, ~included))
    return Influence(found[0], found[1], found[2], n_in, n_out)


def _check(losses: NDArray[np.floating], included: Bools, counts: Bools, blocks: NDArray[np.integer]) -> None:
    if losses.ndim != 2 or included.ndim != 2 or len(losses) != len(included) or not len(losses):
        raise ValueError(
            f"expected losses (M, T) and included (M, D) of the same models, found {losses.shape} and {included.shape}"
        )
    for name, mask in (("included", included), ("valid", counts)):
        if mask.dtype != np.bool_ or mask.shape != included.shape:
            raise ValueError(f"{name}: expected booleans of shape {included.shape}, found {mask.dtype} {mask.shape}")
    if blocks.shape != losses.shape[:1]:
        raise ValueError(f"blocks: expected one per model, shape {losses.shape[:1]}, found {blocks.shape}")
    checked_values(losses, None, "losses")


def _tile(losses: Floats, inside: Bools, outside: Bools, block_of: Ints) -> tuple[Floats, Floats, Floats]:
    """influence, se and degrees: (d, t) each. losses: (M, t) about 0; inside, outside: (M, d)."""
    blocks = [np.flatnonzero(block_of == block) for block in range(int(block_of.max()) + 1)]
    balanced = np.ones(inside.shape[1], dtype=np.bool_)
    for rows in blocks:
        for side in (inside, outside):
            balanced &= side[rows].sum(axis=0) >= MINIMUM_FOR_ERROR
    if balanced.all():
        return _contrast(losses, inside, outside, blocks)
    alike = ~balanced & _alike(inside, outside, blocks)
    found = [np.empty((inside.shape[1], losses.shape[1])) for _ in range(3)]
    whole_bank = [np.arange(len(losses))]
    for chosen, parts in (
        (balanced, _contrast(losses, inside[:, balanced], outside[:, balanced], blocks)),
        (alike, _paired(losses, inside[:, alike], outside[:, alike], blocks)),
        (~balanced & ~alike, None),
    ):
        parts = parts or _contrast(losses, inside[:, chosen], outside[:, chosen], whole_bank)
        for whole, part in zip(found, parts, strict=True):
            whole[chosen] = part
    return found[0], found[1], found[2]


def _alike(inside: Bools, outside: Bools, blocks: list[Ints]) -> Bools:
    """(d,) True where all blocks that have the document at all are alike, with one model on some side; two or more."""
    counts = np.array([[side[rows].sum(axis=0) for side in (inside, outside)] for rows in blocks])  # (K, 2, d)
    there = counts.any(axis=1)  # (K, d)
    first = counts[there.argmax(axis=0), :, np.arange(counts.shape[2])].T  # (2, d)
    same = ((counts == first) & (counts > 0)).all(axis=1) | ~there
    narrow = first.min(axis=0) < MINIMUM_FOR_ERROR
    alike: Bools = same.all(axis=0) & narrow & (there.sum(axis=0) >= MINIMUM_FOR_ERROR)
    return alike


def _paired(losses: Floats, inside: Bools, outside: Bools, blocks: list[Ints]) -> tuple[Floats, Floats, Floats]:
    """influence, se and degrees from the differences of the K blocks that have the document: K - 1 degrees."""
    gap, squares = np.zeros((2, inside.shape[1], losses.shape[1]))
    number = np.zeros((inside.shape[1], 1))
    for rows in blocks:  # Welford's running mean and squares
        mean_in, mean_out = (
            (side[rows].T / np.maximum(side[rows].sum(axis=0), 1)[:, None]) @ losses[rows] for side in (inside, outside)
        )
        there = inside[rows].sum(axis=0)[:, None] > 0
        number += there
        step = np.where(there, mean_out - mean_in - gap, 0.0)
        gap += step / np.maximum(number, 1)
        squares += step * np.where(there, mean_out - mean_in - gap, 0.0)
    return gap, np.sqrt(squares / (number - 1) / number), np.broadcast_to(number - 1, gap.shape)


def _contrast(losses: Floats, inside: Bools, outside: Bools, blocks: list[Ints]) -> tuple[Floats, Floats, Floats]:
    """The same, all documents by these blocks. NaN where a side of a block is empty, no error below 2 models."""
    shape = (inside.shape[1], losses.shape[1])
    gap, mean, of_mean = np.zeros(shape), np.empty(shape), np.empty(shape)
    variances = np.zeros((2, *shape))
    reciprocals, spread = np.zeros((2, 2, shape[0], 1))  # of a side: see `memo.estimators.stratified`
    with np.errstate(invalid="ignore", divide="ignore"):
        for rows in blocks:
            values = losses[rows]
            squares = values**2
            for number, (add, side) in enumerate(((np.subtract, inside), (np.add, outside))):
                member = side[rows].T.astype(np.float64)  # (d, b)
                count = member.sum(axis=1, keepdims=True)
                spare = np.where(count >= MINIMUM_FOR_ERROR, count - 1, np.nan)
                # In place, with divisions in the small factors: passes over a tile cost as much as the products.
                np.matmul(member / count, values, out=mean)
                np.matmul(member / (count * spare), squares, out=of_mean)
                add(gap, mean, out=gap)
                mean *= mean
                mean *= 1 / spare
                of_mean -= mean
                np.maximum(of_mean, 0.0, out=of_mean)
                variances[number] += of_mean
                reciprocals[number] += 1 / count
                spread[number] += 1 / (count**2 * spare)
        variance = variances[0] + variances[1]
        variances *= variances
        variances /= reciprocals**2 / spread
        degrees = variance**2 / variances.sum(axis=0)
    return gap / len(blocks), np.sqrt(variance) / len(blocks), degrees
