"""Every way to a score against a plain loop over one column: exact sums, one block after the other, no arrays.

Adversarial on purpose: blocks of one split, of unequal sizes, without any split of a document, documents that are never
in or never out, outliers, offsets a thousand times the spread, losses without any spread.
"""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from memo.contrasts import Contrast, PackedContrast
from memo.estimators import influence, memorization_of, simplicity, sums
from memo.estimators.moments import Moments
from memo.estimators.stratified import Stratified
from memo.groups import Groups
from memo.tables import ScoredRule

DOCUMENTS = 17
NAN = math.nan
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Values = tuple[Floats, Floats, Floats | None, Floats, Floats]  # score, se, degrees, n_in, n_out
BLOCKS = {
    "one block": np.zeros(16, dtype=int),
    "blocks of 2": np.arange(16) // 2,
    "blocks of 4": np.arange(24) // 4,
    "blocks of 16": np.arange(48) // 16,
    "unequal blocks": np.repeat([0, 1, 2, 3], [2, 7, 33, 6]),
    "blocks of 1": np.arange(12),
    "a long block": np.zeros(70, dtype=int),
}
COINS = ("free", "balanced", "a quarter", "seldom in", "half counts", "whole blocks count")


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else NAN


def squares(values: list[float]) -> float:
    return math.fsum((value - mean(values)) ** 2 for value in values)


def by_hand(losses: Floats, included: Bools, valid: Bools, blocks: NDArray[np.int64]) -> tuple[float, ...]:
    """Score, SE, degrees, splits in and out of one column, as `memo.estimators.stratified` states them."""
    cells = [
        [losses[(blocks == block) & valid & (included == side)].astype(float).tolist() for side in (True, False)]
        for block in np.unique(blocks)
    ]
    inside, outside = ([loss for cell in cells for loss in cell[side]] for side in (0, 1))
    counts = float(len(inside)), float(len(outside))
    score = mean(outside) - mean(inside)
    if min(len(side) for cell in cells for side in cell) >= 2:
        score = mean([mean(cell[1]) for cell in cells]) - mean([mean(cell[0]) for cell in cells])
        of_sides = [_side([cell[side] for cell in cells]) for side in (0, 1)]
        return score, *_welch(of_sides), *counts
    there = [cell for cell in cells if cell[0] or cell[1]]
    shapes = {(len(cell[0]), len(cell[1])) for cell in there}
    if len(shapes) == 1 and len(there) > 1 and min(*shapes) == 1:
        gaps = [mean(cell[1]) - mean(cell[0]) for cell in there]
        return score, math.sqrt(squares(gaps) / (len(gaps) - 1) / len(gaps)), len(gaps) - 1.0, *counts
    if min(counts) < 2:
        return score, NAN, NAN, *counts
    return score, *_welch([_side([side]) for side in (inside, outside)]), *counts


def _side(cells: list[list[float]]) -> tuple[float, float]:
    """Variance of the mean over blocks of one side, and its degrees of freedom."""
    variance = math.fsum(squares(cell) / (len(cell) - 1) / len(cell) for cell in cells) / len(cells) ** 2
    spread = math.fsum(1 / (len(cell) ** 2 * (len(cell) - 1)) for cell in cells)
    return variance, math.fsum(1 / len(cell) for cell in cells) ** 2 / spread


def _welch(sides: list[tuple[float, float]]) -> tuple[float, float]:
    variance = sides[0][0] + sides[1][0]
    below = math.fsum(of_side**2 / degrees for of_side, degrees in sides)
    return math.sqrt(variance), variance**2 / below if below else NAN


def flipped(coins: str, blocks: NDArray[np.int64], rng: np.random.Generator) -> tuple[Bools, Bools]:
    shape = (len(blocks), DOCUMENTS)
    included, valid = rng.random(shape) < (3 / len(blocks) if coins == "seldom in" else 0.5), np.ones(shape, bool)
    if coins in ("balanced", "a quarter", "whole blocks count"):
        for block in np.unique(blocks):
            rows = np.flatnonzero(blocks == block)
            share = 0.25 if coins == "a quarter" else 0.5
            ordered = np.arange(len(rows)) < max(1, round(share * len(rows)))
            included[rows] = rng.permuted(ordered[:, None].repeat(DOCUMENTS, axis=1), axis=0)
    if coins == "half counts":
        valid = rng.random(shape) < 0.5
    if coins == "whole blocks count":
        valid = (rng.random((blocks.max() + 1, DOCUMENTS)) < 0.5)[blocks]
    included[:, 0], included[:, 1], valid[:, 2] = True, False, False
    return included, valid


def measured(included: Bools, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    usual = 3 + 0.2 * rng.standard_normal(included.shape) - 0.3 * included
    outlier = usual.copy()
    outlier[rng.integers(len(usual))] += 500
    first = usual.copy()
    first[0] += 500
    for losses in (usual, usual + 4000, usual * 1e-6, rng.lognormal(0, 2, usual.shape), outlier, first,
                   usual + 1e4 * included, np.zeros_like(usual), np.full_like(usual, 0.1)):  # fmt: skip
        yield np.abs(losses).astype(np.float32)


def ways(
    losses: NDArray[np.float32], included: Bools, valid: Bools, blocks: NDArray[np.int64]
) -> Iterator[tuple[float, Values]]:
    """Tolerance, relative to the standard error or a share of the largest loss, and what comes out."""
    whole = memorization_of(sums(losses, included, valid, blocks))
    half = np.random.default_rng(1).permutation(len(losses)) < len(losses) // 2
    parts = [
        sums(losses[rows], included[rows], valid[rows], blocks[rows], splits=np.flatnonzero(rows))
        for rows in (half, ~half)
    ]
    for found in (whole, memorization_of(parts[1].merge(parts[0]))):
        yield 1e-10, (found.memorization, found.se, found.degrees, found.n_in, found.n_out)
    on_itself = influence(losses, included, valid, blocks)
    yield 1e-10, (*(np.diag(v) for v in (on_itself.influence, on_itself.se)), None, on_itself.n_in, on_itself.n_out)
    for exact in (True, False):
        for contrast in (
            Contrast(included & valid, valid, np.full(DOCUMENTS, None, dtype=object)),
            PackedContrast(np.packbits(included & valid, axis=1), np.packbits(valid, axis=1), np.full(DOCUMENTS, None)),
        ):
            table = _table(contrast, losses, blocks, exact)
            yield 1e-10 if exact else 1e-5, (table["memorization"], table["se"], None, table["n_in"], table["n_out"])


def _table(
    contrast: Contrast | PackedContrast, losses: NDArray[np.float32], blocks: NDArray[np.int64], exact: bool
) -> dict[str, Floats]:
    ids = [f"d{index}" for index in range(DOCUMENTS)]
    tokens = np.full(DOCUMENTS, 10)
    rule = ScoredRule("document", ids, tokens, Groups.of_documents(ids), contrast, blocks, 0.5, (len(losses),) * 2)
    rule.__dict__["exact"] = exact
    cut = [rule.score(start, part, np.zeros_like(part)) for start, part in ((0, losses[:, :5]), (5, losses[:, 5:]))]
    table = rule.table(cut)
    return {name: table[name].to_numpy() for name in ("memorization", "se", "n_in", "n_out")}


@pytest.mark.parametrize("coins", COINS)
@pytest.mark.parametrize("name", BLOCKS)
def test_every_way_gives_what_a_loop_gives(name: str, coins: str) -> None:
    blocks, rng = BLOCKS[name], np.random.default_rng(0)
    included, valid = flipped(coins, blocks, rng)
    for losses in measured(included, rng):
        columns = [by_hand(*(matrix[:, i] for matrix in (losses, included, valid)), blocks) for i in range(DOCUMENTS)]
        expected = np.array(columns).T
        largest = float(losses.max())
        for tolerance, (score, se, degrees, n_in, n_out) in ways(losses, included, valid, blocks):
            floor = largest * (1e-6 if tolerance > 1e-6 else 1e-10)
            np.testing.assert_allclose(score, expected[0], rtol=0, atol=floor)
            np.testing.assert_allclose(se, expected[1], rtol=tolerance, atol=floor)
            np.testing.assert_array_equal(np.array([n_in, n_out]), expected[3:])
            if degrees is not None:
                spread = expected[1] > 1e-9 * largest
                np.testing.assert_allclose(degrees[spread], expected[2, spread], rtol=1e-9)


def test_losses_without_any_spread_have_no_error_and_no_p_value() -> None:
    rng = np.random.default_rng(0)
    included = rng.permuted((np.arange(16) < 8)[:, None].repeat(50, axis=1), axis=0)
    losses = rng.gamma(2, 1, (1, 50)).repeat(16, axis=0).astype(np.float32)
    found = memorization_of(sums(losses, included, blocks=np.arange(16) // 8))
    assert (found.se[np.isfinite(found.se)] == 0).all() and np.isnan(found.p_value).all()
    assert np.abs(found.memorization[np.isfinite(found.memorization)]).max() == 0


def test_means_alone_have_no_error_of_a_single_column_either() -> None:
    totals = Stratified()
    totals.add_shifted(0, np.array([[2.0], [2.0]]), np.array([[2.0], [6.0]]), None)
    found = totals.finish()
    assert (
        (found.loss_in[0], found.loss_out[0]) == (1, 3) and np.isnan(found.se).all() and np.isnan(found.degrees).all()
    )


def test_pieces_of_a_block_follow_one_another() -> None:
    totals, piece = Stratified(), Moments(*np.ones((3, 2, 1)))
    totals.add(0, piece)
    totals.add(0, piece)
    totals.add(1, piece)
    with pytest.raises(ValueError, match="block 0: expected its pieces one after the other"):
        totals.add(0, piece)


def test_whole_numbers_and_booleans_are_numbers() -> None:
    right = np.array([[True, False], [True, True], [False, False]])
    np.testing.assert_allclose(simplicity(right), [2 / 3, 1 / 3])
    included = np.array([[True], [False], [True]])
    np.testing.assert_allclose(influence(np.array([[1, 2], [3, 4], [5, 6]]), included).influence, [[0.0, 0.0]])
    with pytest.raises(ValueError, match="performance: expected numbers, found <U1"):
        simplicity(np.array([["a"]]))
    with pytest.raises(ValueError, match="losses: expected numbers, found complex128"):
        influence(np.array([[1j]]), np.array([[True]]))


def test_squares_that_would_overflow_are_refused() -> None:
    losses = np.full((4, DOCUMENTS), 1.0, dtype=np.float32)
    losses[2, 4] = 3e30
    included = np.arange(4)[:, None].repeat(DOCUMENTS, axis=1) < 2
    contrast = Contrast(included, np.ones_like(included), np.full(DOCUMENTS, None, dtype=object))
    with pytest.raises(ValueError, match=r"loss\[2, 4\]: expected a finite number .* below 1e\+15, found 2.9"):
        _table(contrast, losses, np.zeros(4, dtype=int), exact=False)
    assert np.isfinite(_table(contrast, losses, np.zeros(4, dtype=int), exact=True)["se"]).all()
