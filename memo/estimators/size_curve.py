"""What the loss of unrelated tokens does to a document that was not trained on: one curve for a campaign.

A set that is taken out of a split takes tokens along, and models of fewer tokens are worse at everything. Control sets,
of random documents and graded sizes, are removed by coins of their own; what that does to documents that belong to no
set, in the splits that left them out, is the effect of size alone.

    r[m] = mean over such documents j of l[m, j] - (mean of j over the splits that left it out)
    r[m] = block effect + sum over control sets c of y[c] removed[m, c] + g (tokens of other sets that were removed)
    y[c] = a d[c] + b d[c]^2                      d[c]: tokens of c that a split has where c is kept

The first equation averages a document's own level away; the second is least squares over splits; the third is
generalized least squares with the covariance of the second, without b below 4 control sets. Removing nothing costs
nothing, so the curve goes through zero.

Shapes: M splits, N documents, S sets, C control sets among them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import Bools, Floats, Ints

LINEAR_BELOW = 4  # control sets


@dataclass(frozen=True)
class SizeCurve:
    """Nats per token that the loss of a document rises by, as a function of the tokens that are lost."""

    coefficients: Floats  # (2,) a and b
    covariance: Floats  # (2, 2)
    degrees: float
    doses: Floats  # (C,) tokens of each control set in a split that keeps it
    effects: Floats  # (C,) nats
    se: Floats  # (C,) of the effects

    def at(self, tokens: Floats) -> tuple[Floats, Floats]:
        """The effect of losing so many tokens, and its standard error: the shape of `tokens` each."""
        powers = np.stack([tokens, tokens**2], axis=-1)
        variance = np.einsum("...i,ij,...j->...", powers, self.covariance, powers)
        return powers @ self.coefficients, np.sqrt(np.maximum(variance, 0.0))


def size_curve(
    losses: NDArray[np.floating],
    included: Bools,
    removed: Bools,
    members: tuple[Ints, Ints],
    controls: Ints,
    n_tokens: NDArray[np.integer],
    blocks: NDArray[np.integer] | None = None,
) -> SizeCurve:
    """Fits the curve. losses: (M, N) nats per token. included: (M, N). removed: (M, S) whether the coin took a set out.

    members: documents and sets, (R,) each, a row for every document of every set. controls: (C,) the sets that are
    controls. n_tokens: (N,). blocks: (M,); one block by default.

    Raises ValueError where there is no control set, where every document belongs to a set, or where there are too few
    splits to tell the coins apart.
    """
    if not len(controls):
        raise ValueError("expected at least one control set, found none")
    document, group = members
    apart = np.setdiff1d(np.arange(losses.shape[1]), document)
    response, known = _levels(losses[:, apart], included[:, apart])
    if not known.any():
        raise ValueError("expected documents that belong to no set, and splits that leave some of them out; found none")
    here, tokens = np.asarray(removed[:, controls], dtype=np.float64), np.asarray(n_tokens, dtype=np.float64)
    others = np.setdiff1d(np.arange(removed.shape[1]), controls)
    sizes = np.bincount(group, weights=tokens[document], minlength=removed.shape[1])
    lost = removed[:, others] @ sizes[others]
    block_of = np.zeros(len(losses), dtype=np.int64) if blocks is None else np.asarray(blocks)
    dummies = block_of[:, None] == np.unique(block_of)
    columns = [here, lost[:, None], dummies] if lost.any() else [here, dummies]
    effects, covariance, degrees = _least_squares(np.hstack(columns)[known], response[known], len(controls))
    doses = np.array([_dose(included, removed[:, c], document[group == c], tokens) for c in controls])
    powers = np.stack([doses, doses**2], axis=1)[:, : 1 if len(controls) < LINEAR_BELOW else 2]
    weight = np.linalg.inv(covariance)
    spread = np.linalg.inv(powers.T @ weight @ powers)
    coefficients, full = np.zeros(2), np.zeros((2, 2))
    coefficients[: powers.shape[1]] = spread @ powers.T @ weight @ effects
    full[: powers.shape[1], : powers.shape[1]] = spread
    return SizeCurve(coefficients, full, degrees, doses, effects, np.sqrt(np.diag(covariance)))


def _levels(losses: NDArray[np.floating], included: Bools) -> tuple[Floats, Bools]:
    """r, (M,), and the splits that have one."""
    out = ~included & np.isfinite(losses)
    count = out.sum(axis=0)
    values = np.where(out, losses, 0.0).astype(np.float64)
    centred = np.where(out, losses - values.sum(axis=0) / np.maximum(count, 1), 0.0)
    each = out.sum(axis=1)
    return centred.sum(axis=1) / np.maximum(each, 1), each > 0


def _least_squares(matrix: Floats, response: Floats, wanted: int) -> tuple[Floats, Floats, float]:
    """The first coefficients, their covariance, and degrees of freedom of the residual."""
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1.0
    scaled = matrix / scale
    rank = int(np.linalg.matrix_rank(scaled))
    degrees = len(response) - rank
    if degrees < 1 or rank < matrix.shape[1]:
        raise ValueError(
            f"expected more splits than control sets and blocks, each control set kept in some splits and removed in "
            f"others; found {len(response)} splits for {matrix.shape[1]} unknowns"
        )
    inverse = np.linalg.inv(scaled.T @ scaled)
    solution = inverse @ scaled.T @ response
    residual = response - scaled @ solution
    covariance = inverse * float(residual @ residual) / degrees
    kept = slice(None, wanted)
    return solution[kept] / scale[kept], covariance[kept, kept] / np.outer(scale[kept], scale[kept]), float(degrees)


def _dose(included: Bools, removed: Bools, documents: Ints, tokens: Floats) -> float:
    """Mean tokens of these documents in the splits that keep their set."""
    return float((included[np.ix_(~removed, documents)] @ tokens[documents]).mean())
