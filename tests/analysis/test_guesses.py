"""Guesses and summaries on campaigns whose scores are known."""

import numpy as np
import pytest
from scipy import stats

import memo
from analysis.guesses import Guess, more_copies_more_memorized, more_epochs_more_memorized, random_above_repeated
from analysis.summary import by_kind, extremes
from memo.testing import toy_campaign

SPLITS = 12
# (kind, copies, score of each text)
PLANTED = (
    [("uuid", "1", score) for score in (1.0, 1.5, 2.0)]
    + [("repeated", "1", score) for score in (0.2, 0.4, 0.3)]
    + [("copies", "1", 0.5), ("copies", "2", 1.1), ("copies", "4", 1.4), ("copies", "1", 0.6), ("copies", "2", 0.9)]
    + [(None, None, 0.7), (None, None, 0.1), (None, None, 0.4)]
)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> memo.Campaign:
    kinds, copies, scores, groups = [], [], [], []
    for number, (kind, count, score) in enumerate(PLANTED):
        for _ in range(int(count or 1)):
            kinds.append(kind)
            copies.append(count)
            scores.append(score)
            groups.append(f"g{number}")
    rng = np.random.default_rng(0)
    coins = np.stack([rng.permutation(np.repeat([True, False], SPLITS // 2)) for _ in PLANTED], axis=1)
    included = coins[:, [int(group[1:]) for group in groups]]
    losses = np.where(included, 3.0 - np.array(scores), 3.0).astype(np.float32)
    return toy_campaign(
        tmp_path_factory.mktemp("campaign"),
        losses,
        included,
        groups={"exact": groups},
        design={"unit": "exact"},
        metadata={"planted": kinds, "planted_copies": copies},
    )


@pytest.fixture(autouse=True)
def _computed_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toy campaigns have no tables on disk; their scores are computed when asked for."""
    original = memo.Campaign.scores
    monkeypatch.setattr(
        memo.Campaign, "scores", lambda self, rule="document", evaluation=-1: original(self, rule, evaluation or -1)
    )


def test_the_difference_of_kinds_has_welch_s_interval(campaign: memo.Campaign) -> None:
    guess = random_above_repeated(campaign)
    welch = stats.ttest_ind([1.0, 1.5, 2.0], [0.2, 0.4, 0.3], equal_var=False).confidence_interval(0.95)
    assert guess.estimate == pytest.approx(1.2, abs=1e-6)
    assert (guess.ci_low, guess.ci_high) == pytest.approx((welch.low, welch.high), abs=1e-5)


def test_the_slope_over_copies_has_the_interval_of_least_squares(campaign: memo.Campaign) -> None:
    guess = more_copies_more_memorized(campaign)
    fit = stats.linregress([0, 1, 2, 0, 1], [0.5, 1.1, 1.4, 0.6, 0.9])
    half = stats.t.ppf(0.975, 3) * fit.stderr
    expected = (fit.slope, fit.slope - half, fit.slope + half)
    assert (guess.estimate, guess.ci_low, guess.ci_high) == pytest.approx(expected, abs=1e-5)
    assert guess.verdict == "holds"


def test_one_evaluation_cannot_tell_about_epochs(campaign: memo.Campaign) -> None:
    with pytest.raises(ValueError, match="two evaluations"):
        more_epochs_more_memorized(campaign)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 0.3, "holds"), (-0.3, -0.1, "fails"), (-0.1, 0.1, "undecided")]
)
def test_verdicts(low: float, high: float, verdict: str) -> None:
    assert Guess("x", (low + high) / 2, low, high, "", "").verdict == verdict


def test_extremes_leave_planted_documents_out(campaign: memo.Campaign) -> None:
    most, least = extremes(campaign, "exact", number=2)
    np.testing.assert_allclose(most["memorization"], [0.7, 0.4], atol=1e-6)
    np.testing.assert_allclose(least["memorization"], [0.1, 0.4], atol=1e-6)


def test_kinds_are_averaged_and_copies_told_apart(campaign: memo.Campaign) -> None:
    table = by_kind(campaign).set_index("kind")
    assert table.loc["random UUIDs", "exact"] == pytest.approx(1.5, abs=1e-6)
    assert table.loc["a text that stands 2 times", "documents"] == 4
    assert table.loc["a text that stands 2 times", "exact"] == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(table.loc["a text that stands 2 times", "document"])
    assert table["documents"].sum() == 19
