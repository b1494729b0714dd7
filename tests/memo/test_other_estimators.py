"""Pairs, the block bootstrap, simplicity and quantiles, against scipy and against simulated truth."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from memo.estimators import block_bootstrap, influence, memorization, paired_memorization, simplicity
from memo.estimators.bootstrap import MINIMUM_BLOCKS
from memo.estimators.student import HILL_DEGREES, t_quantile, two_sided


def complement(rng: np.random.Generator, pairs: int, documents: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Masks in which splits 2j and 2j + 1 are opposite, and the pairs."""
    first = rng.random((pairs, documents)) < 0.5
    return np.stack([first, ~first], axis=1).reshape(2 * pairs, documents), np.arange(2 * pairs).reshape(-1, 2)


def test_pairs_agree_with_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    included, pairs = complement(rng, 9, 40)
    common = rng.gamma(2.0, size=(9, 1)).repeat(2, axis=0)  # what two opposite splits share
    losses = 2.0 + common + rng.gamma(1.0, size=(18, 40)) - 0.5 * included
    found = paired_memorization(losses, included, pairs[rng.permutation(9)][:, ::-1])
    for column in range(40):
        inside = included[:, column]
        expected = stats.ttest_rel(losses[~inside, column], losses[inside, column])
        # Both lists are in the order of the pairs, because every pair has one split on either side.
        assert found.memorization[column] == pytest.approx(
            losses[~inside, column].mean() - losses[inside, column].mean(), abs=1e-12
        )
        assert found.p_value[column] == pytest.approx(expected.pvalue, rel=1e-9)
        interval = expected.confidence_interval(0.95)
        assert (found.ci_low[column], found.ci_high[column]) == pytest.approx(interval, abs=1e-11)
    assert (found.n_in == 9).all() and (found.degrees == 8).all()
    unpaired = memorization(losses, included)
    np.testing.assert_allclose(found.memorization, unpaired.memorization, atol=1e-12)
    assert np.median(found.se) < np.median(unpaired.se)


def test_blocks_of_opposite_splits_are_pairs() -> None:
    """As a campaign with the base complement is scored, also where a set counts in some of the pairs only."""
    rng = np.random.default_rng(5)
    included, pairs = complement(rng, 12, 30)
    losses = 2.0 + rng.gamma(1.0, size=(24, 30)) - 0.5 * included
    valid = np.repeat(rng.random((12, 30)) < np.linspace(0.05, 1, 30), 2, axis=0)
    valid[:, 29] = True
    blocks = np.arange(24) // 2
    expected = paired_memorization(losses, included, pairs, valid)
    by_block = memorization(losses, included, valid, blocks)
    on_itself = influence(losses, included, valid, blocks)
    for name in ("memorization", "se", "degrees", "p_value", "n_in", "n_out"):
        np.testing.assert_allclose(getattr(by_block, name), getattr(expected, name), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.diag(on_itself.se), expected.se, rtol=1e-9)
    np.testing.assert_allclose(np.diag(on_itself.degrees), expected.degrees)
    assert np.isnan(expected.se).any() and np.isfinite(expected.se[29])


def test_pairs_that_do_not_count_have_reasons() -> None:
    rng = np.random.default_rng(1)
    included, pairs = complement(rng, 3, 3)
    valid = np.ones_like(included)
    valid[[0, 2], 0] = valid[[0, 2, 4], 1] = False
    losses = rng.gamma(2.0, size=(6, 3))
    losses[0, 0] = np.nan  # does not count
    found = paired_memorization(losses, included, pairs, valid)
    assert found.n_in.tolist() == [1, 0, 3]
    assert found.reason[0] == "fewer than 2 splits on a side: no standard error" and np.isfinite(found.memorization[0])
    assert found.reason[1] == "in no split that counts: no score" and np.isnan(found.memorization[1])
    assert found.reason[2] is None


def test_pairs_that_are_none_are_refused() -> None:
    included, pairs = complement(np.random.default_rng(2), 3, 4)
    losses = np.ones((6, 4))
    with pytest.raises(ValueError, match="split 0 in 2 places"):
        paired_memorization(losses, included, np.array([[0, 1], [1, 0]]))
    with pytest.raises(ValueError, match="split 2 in 2 places"):
        paired_memorization(losses, included, np.array([[0, 1], [2, 2]]))
    with pytest.raises(ValueError, match=r"pairs\[0\] = \(0, 2\): expected opposite splits, found column"):
        paired_memorization(losses, included, np.array([[0, 2]]))
    with pytest.raises(ValueError, match="rows of 6 models, found 0 to 6"):
        paired_memorization(losses, included, np.array([[0, 6]]))
    with pytest.raises(ValueError, match=r"shape \(J, 2\)"):
        paired_memorization(losses, included, np.array([0, 1]))
    losses[5, 1] = -1.0
    with pytest.raises(ValueError, match=r"losses\[5, 1\]"):
        paired_memorization(losses, included, pairs)


def test_a_bootstrap_of_few_blocks_is_refused() -> None:
    rows = MINIMUM_BLOCKS * 4 - 1
    included = np.arange(rows)[:, None] % 2 == np.array([[0, 1]])
    with pytest.raises(ValueError, match="needs 30 blocks of splits, found 29"):
        block_bootstrap(np.ones((116, 2)), included[:116], np.arange(116) // 4, np.random.default_rng(0))


def test_the_bootstrap_agrees_with_the_t_interval_on_many_blocks() -> None:
    rng = np.random.default_rng(3)
    blocks = np.arange(40 * 16) // 16
    included = np.stack([rng.permutation(np.arange(16) < 8) for _ in range(40 * 30)]).reshape(30, 640).T.copy()
    losses = 3.0 + rng.normal(0, 0.2, included.shape) - 0.3 * included
    included[:, 7] = rng.random(640) < 0.1  # not balanced by block
    included[:, 8] = False
    found = block_bootstrap(losses, included, blocks, np.random.default_rng(4))
    known = memorization(losses, included, blocks=blocks)
    np.testing.assert_allclose(found.memorization, known.memorization, atol=1e-12)
    some = np.arange(30) != 8
    assert np.isnan(found.se[8]) and np.isnan(found.ci_low[8])
    np.testing.assert_allclose(found.se[some], known.se[some], rtol=0.35)
    assert np.mean(found.se[some] / known.se[some]) == pytest.approx(1.0, abs=0.05)
    assert (found.ci_low[some] < found.memorization[some]).all()
    again = block_bootstrap(losses, included, blocks, np.random.default_rng(4))
    np.testing.assert_array_equal(again.ci_high, found.ci_high)


def test_simplicity_is_a_mean_that_swallows_nothing() -> None:
    performance = np.array([[0.5, 1.0], [0.25, np.nan], [0.75, 0.5]])
    valid = np.isfinite(performance)
    np.testing.assert_allclose(simplicity(performance, valid), [0.5, 0.75], atol=1e-15)
    assert np.isnan(simplicity(performance, np.zeros_like(valid))).all()
    with pytest.raises(ValueError, match=r"performance\[1, 1\]"):
        simplicity(performance)
    with pytest.raises(ValueError, match="one shape"):
        simplicity(performance, valid[:2])


@pytest.mark.parametrize(("confidence", "tolerance"), [(0.8, 1e-12), (0.95, 1e-12), (0.99, 1e-12), (0.999, 1e-11)])
def test_quantiles_agree_with_scipy(confidence: float, tolerance: float) -> None:
    degrees = np.concatenate([np.linspace(1, 10, 5001), np.geomspace(10, 1e7, 5000), [np.inf]])
    expected = special.stdtrit(degrees, 0.5 + confidence / 2)
    expected[-1] = special.ndtri(0.5 + confidence / 2)
    np.testing.assert_allclose(t_quantile(degrees, confidence), expected, rtol=tolerance)
    assert np.isnan(t_quantile(np.array([np.nan]), confidence)).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_quantile(degrees, 95)


def test_p_values_agree_with_scipy() -> None:
    statistic = np.concatenate([np.linspace(0, 8, 200), np.geomspace(8, 60, 100)])
    for degrees in (1.0, 7.3, 150.0, HILL_DEGREES - 1e-9, float(HILL_DEGREES), 350.5, 1e4, 1e8):
        expected = 2 * special.stdtr(degrees, -statistic)
        found = two_sided(statistic, np.full_like(statistic, degrees))
        usual, tiny = expected > 1e-12, expected > 1e-290
        np.testing.assert_allclose(found[usual], expected[usual], rtol=1e-11, err_msg=str(degrees))
        np.testing.assert_allclose(found[tiny], expected[tiny], rtol=2e-4, err_msg=str(degrees))
    mixed = two_sided(np.array([2.0, np.nan, 2.0]), np.array([5.0, 500.0, np.nan]))
    assert mixed[0] == 2 * special.stdtr(5.0, -2.0) and np.isnan(mixed[1:]).all()
