"""Scores against numbers worked out by hand, against scipy, and against simulated truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import memo
from memo.estimators import benjamini_hochberg, memorization

# Six models, four documents. Sums are chosen so that every mean and variance is a short fraction.
LOSSES = np.array(
    [
        [1.0, 2.0, 3.0, 4.0],
        [2.0, 2.0, 1.0, 4.5],
        [3.0, 2.0, 2.0, 5.0],
        [6.0, 5.0, 7.0, 1.0],
        [7.0, 5.0, 5.0, 1.5],
        [8.0, 5.0, 9.0, 2.0],
    ]
)
INCLUDED = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [1, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 1, 0]], dtype=bool)
NAN = float("nan")


def test_hand_made_matrix_is_exact() -> None:
    result = memorization(LOSSES, INCLUDED)
    # Document 0: in {1,2,3}, out {6,7,8}. 1: in all. 2: in {9}, out {3,1,2,7,5}. 3: in {4.5,5,1}, out {4,1.5,2}.
    expected = {
        "loss_in": [2.0, 21 / 6, 9.0, 10.5 / 3],
        "loss_out": [7.0, NAN, 18 / 5, 7.5 / 3],
        "memorization": [5.0, NAN, 18 / 5 - 9, -1.0],
        # Variances: 1 and 1; none; none; (1 + 2.25 + 6.25) / 2 = 4.75 and (2.25 + 1 + 0.25) / 2 = 1.75.
        "se": [np.sqrt(1 / 3 + 1 / 3), NAN, NAN, np.sqrt(4.75 / 3 + 1.75 / 3)],
        "degrees": [4.0, NAN, NAN, (6.5 / 3) ** 2 / ((4.75 / 3) ** 2 / 2 + (1.75 / 3) ** 2 / 2)],
        "n_in": [3, 6, 1, 3],
        "n_out": [3, 0, 5, 3],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(result, name), values, rtol=0, atol=1e-12, err_msg=name)
    assert result.reason[0] is None and result.reason[3] is None
    assert result.reason[1] == "left out of no split: no score"
    assert "no standard error" in result.reason[2]


def test_interval_and_p_value_agree_with_scipy_welch() -> None:
    result = memo.estimators.memorization(LOSSES, INCLUDED)
    for document in (0, 3):
        inside = INCLUDED[:, document]
        welch = stats.ttest_ind(LOSSES[~inside, document], LOSSES[inside, document], equal_var=False)
        interval = welch.confidence_interval(0.95)
        assert result.p_value[document] == pytest.approx(welch.pvalue, abs=1e-12)
        assert result.degrees[document] == pytest.approx(welch.df, abs=1e-12)
        assert result.ci_low[document] == pytest.approx(interval.low, abs=1e-12)
        assert result.ci_high[document] == pytest.approx(interval.high, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(4, 12))
def test_any_matrix_agrees_with_welch(seed: int, models: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.gamma(2.0, size=(models, 5))
    included = rng.random((models, 5)) < 0.5
    result = memorization(losses, included)
    for column in range(5):
        inside, outside = losses[included[:, column], column], losses[~included[:, column], column]
        if min(len(inside), len(outside)) >= 2:
            welch = stats.ttest_ind(outside, inside, equal_var=False)
            assert result.p_value[column] == pytest.approx(welch.pvalue, rel=1e-9)
        assert np.isnan(result.se[column]) == (min(len(inside), len(outside)) < 2)
        assert np.isnan(result.memorization[column]) == (min(len(inside), len(outside)) < 1)


def test_standard_error_is_stratified_by_block() -> None:
    losses = np.array([[1.0], [3.0], [6.0], [8.0], [11.0], [13.0], [26.0], [30.0]])
    included = np.array([[1], [1], [0], [0], [1], [1], [0], [0]], dtype=bool)
    result = memorization(losses, included, blocks=np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    # Each side of a block has two losses: variances 2, 2 and 2, 8, each over 2 splits, over K^2 = 4.
    of_in, of_out = (2 / 2 + 2 / 2) / 4, (2 / 2 + 8 / 2) / 4
    assert result.se[0] == pytest.approx(np.sqrt(of_in + of_out), abs=1e-12)
    # A side's variance is estimated by both of its blocks: two degrees of freedom each.
    assert result.degrees[0] == pytest.approx((of_in + of_out) ** 2 / (of_in**2 / 2 + of_out**2 / 2), abs=1e-12)
    assert result.memorization[0] == pytest.approx((5 + 16) / 2, abs=1e-12)


def test_a_unit_that_is_not_balanced_by_block_is_pooled() -> None:
    rng = np.random.default_rng(0)
    losses, blocks = rng.gamma(2.0, size=(8, 1)), np.repeat([0, 1], 4)
    included = np.array([[1], [0], [0], [0], [1], [1], [1], [0]], dtype=bool)
    pooled, by_block = memorization(losses, included), memorization(losses, included, blocks=blocks)
    assert by_block.se[0] == pytest.approx(pooled.se[0], rel=1e-12)
    assert by_block.memorization[0] == pytest.approx(pooled.memorization[0], abs=1e-12)


def test_only_valid_splits_count() -> None:
    valid = np.ones_like(INCLUDED)
    valid[[0, 5], 0] = False
    result = memorization(LOSSES, INCLUDED, valid)
    assert (result.loss_in[0], result.loss_out[0]) == (2.5, 6.5)
    assert (result.n_in[0], result.n_out[0]) == (2, 2)


def test_a_loss_that_does_not_count_may_be_missing() -> None:
    losses, valid = LOSSES.copy(), np.ones_like(INCLUDED)
    losses[0, 0], valid[0, 0] = np.nan, False
    assert memorization(losses, INCLUDED, valid).loss_in[0] == 2.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.25])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_cannot_be_a_loss_is_refused_by_name(bad: float, kind: type) -> None:
    losses = LOSSES.astype(kind)
    losses[3, 2] = bad
    with pytest.raises(ValueError, match=r"losses\[3, 2\]: expected a finite number that is not negative, found"):
        memorization(losses, INCLUDED)


def test_a_loss_of_zero_is_none_of_them() -> None:
    losses = LOSSES.copy()
    losses[0, :2] = 0.0, -0.0
    assert np.isfinite(memorization(losses, INCLUDED).loss_in).sum() == 4


def test_shapes_and_types_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        memorization(LOSSES, INCLUDED[:, :3])
    with pytest.raises(ValueError, match="booleans"):
        memorization(LOSSES, INCLUDED.astype(float))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one per model"):
        memorization(LOSSES, INCLUDED, blocks=np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="valid: expected booleans of shape"):
        memorization(LOSSES, INCLUDED, valid=INCLUDED[:2])


def test_models_that_tell_no_side_from_the_other_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 models, found 1"):
        memorization(LOSSES[:1], INCLUDED[:1])
    with pytest.raises(ValueError, match="all 6 masks are equal"):
        memorization(LOSSES, np.repeat(INCLUDED[:1], 6, axis=0))


def test_one_document_that_is_never_in_has_a_reason_and_no_average() -> None:
    for inside, reason in ((False, "in no split: no score"), (True, "left out of no split: no score")):
        result = memorization(LOSSES[:, :1], np.full((6, 1), inside))
        assert result.reason[0] == reason
        assert np.isnan([result.memorization[0], result.se[0], result.p_value[0], result.ci_low[0]]).all()
    nothing = memorization(LOSSES, INCLUDED, valid=np.zeros_like(INCLUDED))
    assert (nothing.reason == "in no split that counts: no score").all()
    assert np.isnan(nothing.loss_in).all() and np.isnan(nothing.loss_out).all()


def test_losses_without_spread_give_a_certain_interval() -> None:
    losses = np.array([[1.0], [1.0], [2.0], [2.0]])
    included = np.array([[1], [1], [0], [0]], dtype=bool)
    result = memorization(losses, included)
    assert (result.ci_low[0], result.ci_high[0], result.p_value[0]) == (1.0, 1.0, 0.0)


def test_null_scores_are_significant_as_often_as_they_should() -> None:
    rng = np.random.default_rng(1)
    losses = rng.normal(3.0, 0.2, size=(32, 4000))
    included = np.stack([rng.permutation(np.repeat([True, False], 8)) for _ in range(8000)]).reshape(4000, 32).T
    result = memorization(losses, included, blocks=np.arange(32) // 16)
    assert (result.p_value < 0.05).mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 4000))


def test_q_values_need_sixteen_splits_a_side() -> None:
    p_values = np.array([0.001, 0.01, 0.02, np.nan])
    n_in, n_out = np.array([16, 16, 15, 16]), np.array([16, 20, 40, 16])
    q_values = benjamini_hochberg(p_values, n_in, n_out)
    np.testing.assert_allclose(q_values, [0.002, 0.01, np.nan, np.nan])
    assert q_values[0] == stats.false_discovery_control([0.001, 0.01])[0]


def test_q_values_agree_with_scipy() -> None:
    p_values = np.random.default_rng(0).beta(0.4, 1.0, size=500).round(3)  # with ties
    many = np.full(500, 20)
    np.testing.assert_allclose(
        benjamini_hochberg(p_values, many, many), stats.false_discovery_control(p_values), rtol=1e-12
    )
