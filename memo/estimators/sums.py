"""Partial sums: what a part of the splits, or of the documents, contributes to every score.

    here, there = sums(losses[:8], included[:8], splits=range(8)), sums(losses[8:], included[8:], splits=range(8, 16))
    memorization_of(here.merge(there))         the same as memorization(losses, included), to rounding

Merging is associative and commutative to rounding (1e-9 and better, tested), so parts may be computed anywhere and
merged in any order. A part holds 48 bytes per block and column. (A whole campaign is aggregated without storing them:
`memo.estimators.stratified` takes block after block.)

Shapes: M splits, D columns, K blocks; the first axis of 2 is in, out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from memo.estimators.checks import Bools, Floats, Ints, checked_shapes, checked_values
from memo.estimators.moments import ROWS, WIDTH, Moments, Scratch
from memo.estimators.stratified import Stratified, Totals


@dataclass(frozen=True)
class Sums:
    """Counts, means and sums of squared deviations per side and block."""

    splits: Ints  # (M,) the splits that are in it, ascending
    blocks: Ints  # (K,) ascending
    count: Floats  # (2, K, D)
    mean: Floats  # (2, K, D); any finite number where the count is 0
    squares: Floats  # (2, K, D)

    def merge(self, other: "Sums") -> "Sums":
        """Of the same columns and other splits. Raises `ValueError` where a split is in both: it would count twice."""
        if self.count.shape[2] != other.count.shape[2]:
            raise ValueError(f"expected parts of the same columns, found {self.count.shape[2]}, {other.count.shape[2]}")
        twice = np.intersect1d(self.splits, other.splits)
        if len(twice):
            raise ValueError(f"split {twice[0]} is in both parts and would count twice; name splits with `splits`")
        blocks = np.union1d(self.blocks, other.blocks)
        merged = self._moments(blocks).merge(other._moments(blocks))
        splits = np.union1d(self.splits, other.splits)
        return Sums(splits, blocks, merged.count, merged.mean, merged.squares)

    def beside(self, other: "Sums") -> "Sums":
        """Of the same splits and other columns, which follow these."""
        if not np.array_equal(self.splits, other.splits) or not np.array_equal(self.blocks, other.blocks):
            raise ValueError("expected parts of the same splits and blocks")
        joined = (
            np.concatenate([getattr(self, name), getattr(other, name)], axis=2) for name in ("count", "mean", "squares")
        )
        return Sums(self.splits, self.blocks, *joined)

    def totals(self) -> Totals:
        """Means, standard errors and counts of every column."""
        stratified = Stratified()
        for position, block in enumerate(self.blocks.tolist()):
            stratified.add(block, Moments(self.count[:, position], self.mean[:, position], self.squares[:, position]))
        return stratified.finish()

    def _moments(self, blocks: Ints) -> Moments:
        """Spread over these blocks, empty where there is none."""
        at = np.searchsorted(blocks, self.blocks)
        spread = np.zeros((3, 2, len(blocks), self.count.shape[2]))
        spread[:, :, at] = self.count, self.mean, self.squares
        return Moments(*spread)


def sums(
    losses: NDArray[np.floating],
    included: Bools,
    valid: Bools | None = None,
    blocks: NDArray[np.integer] | None = None,
    splits: Sequence[int] | NDArray[np.integer] | None = None,
    dtype: DTypeLike = np.float64,
) -> Sums:
    """Partial sums of these splits. losses, included, valid: (M, D); blocks: (M,), one by default.

    splits: (M,) the name of each, 0 .. M - 1 by default. dtype: of the arithmetic inside a block.
    """
    values, included, valid, block_of = checked_shapes(losses, included, valid, blocks)
    values = checked_values(values, valid, "losses")
    names = np.arange(len(values)) if splits is None else np.asarray(splits, dtype=np.int64)
    if names.shape != block_of.shape or len(np.unique(names)) < len(names):
        raise ValueError(f"splits: expected {len(values)} different ones, found {names.tolist()}")
    ids = np.unique(block_of)
    found = np.zeros((3, 2, len(ids), values.shape[1]))
    scratch = Scratch(ROWS, WIDTH, dtype)
    for start in range(0, values.shape[1], WIDTH):
        columns = slice(start, start + WIDTH)
        for position, block in enumerate(ids):
            rows = np.flatnonzero(block_of == block)
            part = _of_block(values[rows, columns], included[rows, columns],
                             None if valid is None else valid[rows, columns], scratch)  # fmt: skip
            for kind, value in enumerate((part.count, part.mean, part.squares)):
                found[kind, :, position, columns] = value
    return Sums(np.sort(names), ids, *found)


def _of_block(losses: NDArray[np.floating], included: Bools, valid: Bools | None, scratch: Scratch) -> Moments:
    merged: Moments | None = None
    for start in range(0, len(losses), ROWS):
        rows = slice(start, start + ROWS)
        part = scratch.moments(losses[rows], scratch.sides(included[rows], None if valid is None else valid[rows]))
        merged = part if merged is None else merged.merge(part)
    if merged is None:
        raise ValueError("expected at least one split, found none")
    return merged
