"""Parts of the splits and of the documents, summed anywhere and merged in any order; and other ways to the same."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from memo.estimators import memorization, memorization_of, sums
from memo.estimators.moments import ROWS

FIELDS = ("memorization", "se", "degrees", "ci_low", "ci_high", "p_value", "loss_in", "loss_out", "n_in", "n_out")
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Case = tuple[Floats, Bools, Bools, NDArray[np.int64]]


def dense(losses: NDArray[np.floating], included: Bools) -> NDArray[np.floating]:
    """The form that the field copies (Feldman and Zhang 2020): means of products, the inverted mask, a difference."""

    def average(mask: Bools) -> NDArray[np.floating]:
        return np.sum(losses * mask, axis=0) / np.maximum(np.sum(mask, axis=0), 1e-10)

    return average(np.logical_not(included)) - average(included)


def one_document(losses: Floats, included: Bools, valid: Bools, blocks: NDArray[np.integer]) -> tuple[float, ...]:
    """memorization, se, degrees of a single document: (M,) each."""
    sides = [included & valid, ~included & valid]
    here = np.unique(blocks)
    counts = np.array([[side[blocks == block].sum() for block in here] for side in sides])
    balanced = bool((counts >= 2).all())
    if not balanced and len(here) > 1 and (counts > 0).all() and (counts == counts[:, :1]).all():
        mean = losses.mean  # one split on a side of every block: the differences of the blocks are the sample
        gaps = np.array([mean(where=sides[1] & (blocks == k)) - mean(where=sides[0] & (blocks == k)) for k in here])
        return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(here))), len(here) - 1.0
    strata = [blocks == block for block in here] if balanced else [np.ones(len(blocks), dtype=bool)]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [[losses[side & stratum] for stratum in strata] for side in sides]
        mean_in, mean_out = (np.mean([part.mean() if len(part) else np.nan for part in side]) for side in values)
        parts = [part for side in values for part in side]
        if min(map(len, parts)) < 2:
            return float(mean_out - mean_in), float("nan"), float("nan")
        of_sides, spread = [], []
        for side in values:
            n = np.array([len(part) for part in side])
            of_sides.append(sum(part.var(ddof=1) / len(part) for part in side) / len(strata) ** 2)
            spread.append((1 / n).sum() ** 2 / (1 / (n**2 * (n - 1))).sum())
        terms = np.array(of_sides)
        degrees = terms.sum() ** 2 / (terms**2 / spread).sum()
    return float(mean_out - mean_in), float(np.sqrt(terms.sum())), float(degrees)


def case(seed: int, models: int = 24, documents: int = 6) -> Case:
    """Losses far from zero and of unlike spread; some documents balanced by block, some not, some never in."""
    rng = np.random.default_rng(seed)
    blocks = np.arange(models) // 8
    included = np.stack([rng.permutation(np.arange(8) < 4) for _ in range(documents * -(-models // 8))])
    included = included.reshape(documents, -1)[:, :models].T.copy()
    valid = np.ones_like(included)
    valid[:, 1] = rng.random(models) < 0.7
    included[:, 2] = rng.random(models) < 0.2
    included[:, 3] = False
    losses = rng.uniform(0, 8, documents) + rng.gamma(2.0, rng.uniform(1e-3, 1.0, documents), (models, documents))
    return losses - np.where(included, np.minimum(losses, 1.5), 0), included, valid, blocks


def assert_same(found: object, expected: object, tolerance: float = 1e-9) -> None:
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=tolerance, atol=tolerance, err_msg=name
        )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3), min_size=24, max_size=24), st.permutations(range(4)))
def test_splits_summed_in_parts_merge_to_the_whole(seed: int, where: list[int], order: list[int]) -> None:
    losses, included, valid, blocks = case(seed)
    whole = memorization(losses, included, valid, blocks)
    place = np.array(where)
    parts = [
        sums(losses[rows], included[rows], valid[rows], blocks[rows], splits=rows)
        for rows in (np.flatnonzero(place == part) for part in order)
        if len(rows)
    ]
    left = functools.reduce(lambda a, b: a.merge(b), parts)
    right = functools.reduce(lambda a, b: b.merge(a), reversed(parts))
    assert_same(memorization_of(left), whole)
    assert_same(memorization_of(right), memorization_of(left))
    np.testing.assert_array_equal(left.splits, np.arange(24))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.permutations(range(24)))
def test_documents_beside_each_other_and_splits_in_any_order(seed: int, cut: int, order: list[int]) -> None:
    losses, included, valid, blocks = case(seed)
    whole = memorization(losses, included, valid, blocks)
    columns = (slice(None, cut), slice(cut, None))
    left, right = (sums(losses[:, c], included[:, c], valid[:, c], blocks) for c in columns)
    beside = memorization_of(left.beside(right))
    for name in FIELDS:  # a column does not depend on its neighbours: the same bits
        np.testing.assert_array_equal(getattr(beside, name), getattr(whole, name), err_msg=name)
    assert_same(memorization(losses[order], included[order], valid[order], blocks[order]), whole)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(4, 100))
@example(seed=24, models=24)  # a document that is in once in every block
def test_stratified_errors_agree_with_a_loop(seed: int, models: int) -> None:
    losses, included, valid, blocks = case(seed, models)
    found = memorization(losses, included, valid, blocks)
    for column in range(losses.shape[1]):
        expected = one_document(losses[:, column], included[:, column], valid[:, column], blocks)
        actual = (found.memorization[column], found.se[column], found.degrees[column])
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12, err_msg=str(column))


def test_one_long_block_is_taken_in_pieces() -> None:
    losses, included, _, _ = case(3, models=3 * ROWS + 8)
    found = memorization(losses, included)
    for column in (0, 1, 4, 5):
        inside = included[:, column]
        welch = stats.ttest_ind(losses[~inside, column], losses[inside, column], equal_var=False)
        assert found.p_value[column] == pytest.approx(welch.pvalue, rel=1e-9)
        assert found.degrees[column] == pytest.approx(welch.df, rel=1e-10)


def test_scores_agree_with_the_dense_form() -> None:
    losses, included, _, _ = case(4)
    found = memorization(losses, included).memorization
    some = [0, 1, 2, 4, 5]
    np.testing.assert_allclose(found[some], dense(losses, included)[some], rtol=0, atol=1e-12)
    # The document that is never in: the dense form takes the mean of nothing for 0.
    assert np.isnan(found[3]) and np.isfinite(dense(losses, included)[3])


def test_a_split_does_not_count_twice() -> None:
    losses, included, _, _ = case(5)
    parts = [sums(losses[rows], included[rows], splits=rows) for rows in (np.arange(12), np.arange(11, 24))]
    with pytest.raises(ValueError, match="split 11 is in both parts"):
        parts[0].merge(parts[1])
    with pytest.raises(ValueError, match="different ones"):
        sums(losses[:2], included[:2], splits=[3, 3])


def test_parts_that_do_not_fit_are_refused() -> None:
    losses, included, _, _ = case(6)
    with pytest.raises(ValueError, match="same columns"):
        sums(losses, included).merge(sums(losses[:, 1:], included[:, 1:], splits=range(24, 48)))
    with pytest.raises(ValueError, match="same splits"):
        sums(losses, included).beside(sums(losses[1:], included[1:]))


def test_constant_sides_have_no_error_whatever_the_order_of_merging() -> None:
    losses = np.repeat([[5.2, 0.1]], 12, axis=0)
    included = np.arange(12)[:, None] % 2 == np.array([[0, 1]])
    losses[included] += 0.3
    rows = [np.arange(12)[part::3] for part in range(3)]
    parts = [sums(losses[r], included[r], splits=r) for r in rows]
    for order in itertools.permutations(parts):
        merged = memorization_of(functools.reduce(lambda a, b: a.merge(b), order))
        np.testing.assert_allclose(merged.memorization, -0.3, rtol=0, atol=1e-12)
        np.testing.assert_allclose(merged.ci_high - merged.ci_low, 0.0, atol=1e-12)
