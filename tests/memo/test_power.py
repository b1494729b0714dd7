"""Predictions of a pilot against numbers worked out by hand and against finished simulated campaigns.

`tests/subsets/test_coverage.py` does the same for every rung of real designs.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from memo.estimators import memorization
from memo.estimators.power import (
    Noise,
    effective_splits,
    measure_noise,
    predict,
    splits_for_reliability,
    splits_for_se,
    standard_error,
)

NOISE = Noise(of_in=0.2, of_out=0.3, splits=8, documents=100)


def coins(rng: np.random.Generator, models: int, documents: int, block: int) -> NDArray[np.bool_]:
    half = np.repeat([True, False], block // 2)[:, None].repeat(documents, axis=1)
    return np.concatenate([rng.permuted(half, axis=0) for _ in range(models // block)])


def losses_of(
    rng: np.random.Generator, treated: NDArray[np.bool_], weights: NDArray[np.float64], noise: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A third of the variance is which other documents were in the split; models that saw a document vary less."""
    training = rng.normal(size=treated.shape) * np.sqrt(2 / 3) * np.where(treated, 0.8, 1.0)
    return 5 - 0.5 * treated + noise * ((treated - 0.5) @ weights + training)


def test_noise_by_hand() -> None:
    losses = np.array([[1.0], [3.0], [1.0], [3.0], [5.0], [9.0], [5.0], [9.0]])
    treated = np.array([[True]] * 4 + [[False]] * 4)
    noise = measure_noise(losses, treated)
    assert noise.of_in**2 == pytest.approx(4 / 3) and noise.of_out**2 == pytest.approx(16 / 3)
    assert noise.nats**2 == pytest.approx(10 / 3)
    assert (noise.splits, noise.documents) == (8, 1)
    by_block = measure_noise(losses, treated, blocks=np.array([0, 1] * 4))  # each block's losses are equal on a side
    assert by_block.nats == 0


def test_noise_is_a_root_mean_square_over_the_documents_that_count() -> None:
    rng = np.random.default_rng(0)
    treated = coins(rng, 16, 30, 16)
    losses = 9 + rng.normal(size=treated.shape) * np.linspace(0.1, 1, 30)
    valid = np.ones_like(treated)
    valid[:, 0] = False
    losses[0, 0] = np.nan
    exclude = np.arange(30) == 29
    inside = [losses[treated[:, i], i].var(ddof=1) for i in range(1, 29)]
    noise = measure_noise(losses, treated, valid, exclude=exclude)
    assert noise.of_in**2 == pytest.approx(np.mean(inside))
    assert noise.documents == 28


def test_a_pilot_that_cannot_show_its_noise_is_refused() -> None:
    treated = np.array([[True], [False]] * 3)
    with pytest.raises(ValueError, match="at least 8 splits to show its noise, found 6"):
        measure_noise(np.ones((6, 1)), treated)
    with pytest.raises(ValueError, match="no document has two splits"):
        measure_noise(np.ones((8, 1)), np.ones((8, 1), dtype=bool))


def test_a_campaign_predicts_its_own_standard_error_exactly() -> None:
    rng = np.random.default_rng(1)
    treated, blocks = coins(rng, 48, 50, 16), np.arange(48) // 16
    losses = 5 + rng.normal(size=treated.shape) * np.where(treated, 0.2, 0.4)
    found = memorization(losses, treated, None, blocks)
    predicted = predict(measure_noise(losses, treated, None, blocks), 24, 24, blocks=3)
    assert float(predicted.se) == pytest.approx(np.sqrt((found.se**2).mean()), rel=1e-12)


@pytest.mark.parametrize(("block", "inside"), [(2, 1), (4, 1), (4, 3)])
def test_blocks_with_one_split_on_a_side_predict_themselves_from_their_differences(block: int, inside: int) -> None:
    rng = np.random.default_rng(4)
    number = 12
    half = (np.arange(block) < inside)[:, None].repeat(50, axis=1)
    treated = np.concatenate([rng.permuted(half, axis=0) for _ in range(number)])
    blocks = np.arange(number * block) // block
    losses = 5 + rng.normal(size=treated.shape) * np.where(treated, 0.2, 0.4)
    found = memorization(losses, treated, None, blocks)
    predicted = predict(
        measure_noise(losses, treated, None, blocks), number * inside, number * (block - inside), blocks=number
    )
    assert float(predicted.se) == pytest.approx(np.sqrt((found.se**2).mean()), rel=1e-12)
    assert (found.degrees == number - 1).all() and float(predicted.degrees) == number - 1


def test_the_median_document_of_a_pilot_of_eight() -> None:
    """Documents differ in noise by a factor of 1.5 either way; 8 splits alone make the median 6 % too small."""
    rng = np.random.default_rng(5)
    noise = 0.24 * rng.lognormal(0, 0.4, 4000)
    treated = coins(rng, 8, 4000, 8)
    found = measure_noise(5 + noise * rng.normal(size=treated.shape), treated)
    assert found.nats * found.median_ratio == pytest.approx(np.median(noise), rel=0.03)
    assert found.median_ratio == pytest.approx(np.exp(-(0.4**2)), rel=0.04)


def test_losses_that_are_none_are_refused() -> None:
    treated = coins(np.random.default_rng(0), 8, 3, 8)
    losses = np.ones(treated.shape)
    losses[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"losses\[4, 1\]"):
        measure_noise(losses, treated)
    valid = np.ones_like(treated)
    valid[4, 1] = False
    assert measure_noise(losses, treated, valid).nats == 0


def test_prediction_by_hand() -> None:
    assert float(standard_error(NOISE, 4, 9)) == pytest.approx(np.sqrt(0.04 / 4 + 0.09 / 9))
    equal = Noise(0.2, 0.2, 8, 1)
    found = predict(equal, 16, 16, blocks=2)
    assert float(found.se) == pytest.approx(0.2 / np.sqrt(8)) and float(found.degrees) == pytest.approx(28)
    critical = stats.t.ppf(0.975, 28)
    assert stats.nct.sf(critical, 28, float(found.gap / found.se)) == pytest.approx(0.8, abs=1e-6)
    assert float(predict(equal, 6, 6, blocks=4).degrees) == pytest.approx(10)  # 1.5 a block: taken as one block


def test_prediction_per_unit() -> None:
    found = predict(NOISE, np.array([16.0, 1.0, 0.0]), np.array([16.0, 16.0, 16.0]))
    assert found.se.shape == found.degrees.shape == found.gap.shape == (3,)
    assert np.isfinite(found.gap[0]) and np.isnan(found.gap[1:]).all() and np.isnan(found.se[1:]).all()


def test_effective_splits_of_independent_coins() -> None:
    numbers = np.random.default_rng(2).binomial(16, 0.25, 400_000)
    expected = 1 / (1 / numbers[numbers >= 2]).mean()
    assert effective_splits(16, 0.25) == pytest.approx(expected, rel=0.005)
    assert effective_splits(1000, 0.5) == pytest.approx(500, rel=0.002)


def test_splits_for_a_standard_error_are_whole_blocks_and_just_enough() -> None:
    for share, include, block in ((1.0, 0.5, 16), (1 / 3, 0.5, 12), (1.0, 0.25, 20)):
        splits = splits_for_se(NOISE, 0.05, share, include, block)
        assert splits % block == 0
        sides = [np.array([splits, splits - block]) * share * p for p in (include, 1 - include)]
        se = standard_error(NOISE, *sides)
        assert se[0] <= 0.05 < se[1]
    assert splits_for_se(NOISE, 100.0) == 4  # two a side, or there is no standard error
    assert splits_for_se(NOISE, float(standard_error(NOISE, 32, 32)), block=16) == 64  # not a block more for rounding
    with pytest.raises(ValueError, match="positive standard error"):
        splits_for_se(NOISE, 0.0)


def test_splits_for_a_reliability_are_whole_blocks() -> None:
    assert splits_for_reliability(0.5, 16, 0.9, block=16) == 144
    assert splits_for_reliability(0.5, 17, 0.9, block=16) == 160
    assert splits_for_reliability(0.0, 16, 0.9, block=16) is None


def test_a_pilot_of_eight_splits_predicts_the_finished_campaign_within_a_fifth() -> None:
    ratio = []
    for campaign in range(100):
        rng = np.random.default_rng(campaign)
        weights = rng.normal(size=(100, 100)) * np.sqrt(4 / 3 / 100)
        np.fill_diagonal(weights, 0.0)
        noise = 0.24 * rng.lognormal(0, 0.4, 100)
        trial, treated = coins(rng, 8, 100, 8), coins(rng, 64, 100, 16)
        pilot = measure_noise(losses_of(rng, trial, weights, noise), trial)
        found = memorization(losses_of(rng, treated, weights, noise), treated, None, np.arange(64) // 16)
        ratio.append(float(predict(pilot, 32, 32, blocks=4).se) / np.sqrt((found.se**2).mean()))
    errors = np.array(ratio) - 1
    print(f"error of prediction: rms {np.sqrt((errors**2).mean()):.3f}, largest {np.abs(errors).max():.3f}")
    assert np.abs(errors).max() < 0.2
    assert np.sqrt((errors**2).mean()) < 0.07 and abs(errors.mean()) < 0.03


def coverage_at_the_stop(target: float, together: int, campaigns: int, block: int = 16) -> tuple[float, float, float]:
    """Coverage of 95 % intervals, its Monte Carlo error, mean number of models.

    Looks after each block, up to 96 models, until the median standard error of `together` documents is below the
    target. The true score is 0.
    """
    rng = np.random.default_rng(3)
    treated = coins(rng, 96, together * campaigns, block)
    losses = 5 + 0.24 * rng.normal(size=treated.shape)
    covers = np.empty((campaigns, together))
    models = np.zeros(campaigns, dtype=int)
    for looked in range(block, 97, block):
        found = memorization(losses[:looked], treated[:looked], None, np.arange(looked) // block)
        median = np.median(found.se.reshape(campaigns, together), axis=1)
        stops = (models == 0) & ((median < target) | (looked == 96))
        contains = ((found.ci_low <= 0) & (found.ci_high >= 0)).reshape(campaigns, together)
        covers[stops] = contains[stops]
        models[stops] = looked
    share = covers.mean(axis=1)
    return float(share.mean()), float(share.std() / np.sqrt(campaigns)), float(models.mean())


@pytest.mark.parametrize("target", [0.08, 0.06])
def test_stopping_on_the_standard_error_of_many_documents_leaves_coverage_alone(target: float) -> None:
    covers, error, models = coverage_at_the_stop(target, together=100, campaigns=100)
    print(f"median of 100 documents below {target}: {covers:.4f} +- {error:.4f} at {models:.0f} models")
    assert abs(covers - 0.95) < 0.01 and error < 0.003
    assert 32 <= models <= 80


def test_stopping_on_the_standard_error_of_one_document_costs_a_little_coverage() -> None:
    covers, error, models = coverage_at_the_stop(0.08, together=1, campaigns=8000)
    print(f"one document below 0.08: {covers:.4f} +- {error:.4f} at {models:.0f} models")
    assert 0.93 < covers < 0.95 and error < 0.003
