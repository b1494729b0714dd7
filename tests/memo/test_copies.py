"""Scores by number of copies on losses whose truth is known: no bias, intervals that cover, a curve over documents."""

import numpy as np
import pytest
from numpy.typing import NDArray

from memo.estimators import copies_scores, dose_curve, memorization

COUNTS = (0, 1, 2, 4, 8)
DOCUMENTS, BLOCK, BLOCKS = 40, 10, 8
EFFECT = np.array([0.0, 0.5, 0.8, 1.0, 1.1])  # of each number of copies, nats


def bank(seed: int, composition: float = 0.03) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """losses and copies, (M, D), and the strength of each document, (D,): its true score is that x EFFECT. How often a
    split has the other documents matters a little to each, and a model is good or bad at all of them."""
    rng = np.random.default_rng(seed)
    strength = rng.uniform(0.5, 1.5, DOCUMENTS)
    order = rng.random((BLOCKS, BLOCK, DOCUMENTS)).argsort(axis=1).reshape(-1, DOCUMENTS)
    level = order % len(COUNTS)
    copies = np.array(COUNTS)[level]
    losses = 4.0 - EFFECT[level] * strength
    others = rng.standard_normal((DOCUMENTS, DOCUMENTS))
    np.fill_diagonal(others, 0.0)
    losses += composition * (np.log2(1 + copies) - np.log2(1 + copies).mean()) @ others
    losses += 0.2 * rng.standard_normal(losses.shape) + 0.15 * rng.standard_normal((len(losses), 1))
    return losses, copies, strength


def blocks() -> NDArray[np.int64]:
    return np.repeat(np.arange(BLOCKS), BLOCK)


def test_scores_come_out_without_bias_and_intervals_cover() -> None:
    wrong, inside = [], []
    for seed in range(150):
        losses, copies, strength = bank(seed)
        for dose, found in copies_scores(losses, copies, COUNTS, blocks=blocks()).items():
            truth = EFFECT[COUNTS.index(dose)] * strength
            wrong.append(found.memorization - truth)
            inside.append((found.ci_low <= truth) & (truth <= found.ci_high))
    every = np.stack(wrong)
    print(f"\ncopies: bias {every.mean():+.4f}, coverage {np.mean(inside):.3f}", end=" ")
    assert abs(every.mean()) < 4 * every.std() / np.sqrt(every.size / DOCUMENTS)
    assert abs(every.mean()) < 0.01
    assert 0.93 <= np.mean(inside) <= 0.97, np.mean(inside)


def test_the_curve_covers_the_mean_of_the_population_of_documents() -> None:
    wrong, inside = [], []
    for seed in range(400):
        losses, copies, _ = bank(seed)
        found = copies_scores(losses, copies, COUNTS, blocks=blocks())
        curve = dose_curve({dose: scores.memorization for dose, scores in found.items()})
        assert curve.copies.tolist() == [1, 2, 4, 8] and (curve.documents == DOCUMENTS).all()
        truth = EFFECT[1:]  # documents have a strength of 1 on average
        wrong.append(curve.memorization - truth)
        inside.append((curve.ci_low <= truth) & (truth <= curve.ci_high))
    print(f"\ndose curve: coverage {np.mean(inside):.3f}", end=" ")
    assert np.abs(np.mean(wrong, axis=0)).max() < 0.02
    assert 0.93 <= np.mean(inside) <= 0.97, np.mean(inside)


def test_one_dose_is_the_ordinary_score_of_these_splits() -> None:
    losses, copies, _ = bank(0)
    found = copies_scores(losses, copies, COUNTS, blocks=blocks())
    for dose in COUNTS[1:]:
        valid = (copies == 0) | (copies == dose)
        plain = memorization(losses, copies == dose, valid, blocks())
        np.testing.assert_allclose(found[dose].memorization, plain.memorization, atol=1e-12)
        np.testing.assert_allclose(found[dose].se, plain.se, atol=1e-12)
        assert (found[dose].n_in == 16).all() and (found[dose].n_out == 16).all()
        by_hand = losses[copies[:, 3] == 0, 3].mean() - losses[copies[:, 3] == dose, 3].mean()
        assert found[dose].memorization[3] == pytest.approx(by_hand, abs=1e-12)  # all blocks have as many


def test_what_is_missing_says_so() -> None:
    losses, copies, _ = bank(0)
    with pytest.raises(ValueError, match="expected 0 among them"):
        copies_scores(losses, copies, (1, 2))
    never = np.where(copies == 8, 4, copies)
    found = copies_scores(losses, never, COUNTS, blocks=blocks())[8]
    assert np.isnan(found.memorization).all() and (found.reason == "in no split: no score").all()
    curve = dose_curve({1: np.array([0.5, np.nan]), 2: np.array([np.nan, np.nan])})
    assert curve.memorization[0] == 0.5 and np.isnan(curve.se).all() and np.isnan(curve.memorization[1])
    assert curve.documents.tolist() == [1, 0]
