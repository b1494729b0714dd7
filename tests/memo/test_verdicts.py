"""A verdict rests on bounds: memorized at the finest rule that shows it, generalizing, or undecided."""

import numpy as np
import pytest
from scipy import stats

from memo.estimators.verdicts import GENERALIZES, UNDECIDED, verdicts

NAN = np.nan


def one(gaps: list[float], se: list[float] | float = 0.05, degrees: float = 40.0) -> tuple[int, float]:
    gap = np.array(gaps)[:, None]
    errors = np.broadcast_to(np.array(se, dtype=float).reshape(-1, 1), gap.shape).copy()
    errors[np.isnan(gap)] = NAN
    found = verdicts(gap, errors, np.full(gap.shape, degrees), margin=0.5)
    return int(found.rule[0]), float(found.margin[0])


@pytest.mark.parametrize(
    ("gaps", "se", "expected"),
    [
        ([1.0, 1.2, 1.5], 0.05, 0),  # the document itself
        ([0.1, 1.2, 1.5], 0.05, 1),  # its near-copies
        ([0.1, 0.2, 1.5], 0.05, 2),
        ([0.1, 0.2, 0.1], 0.05, GENERALIZES),
        ([0.45, 1.2, 1.5], 0.05, UNDECIDED),  # the first bound crosses the margin: who knows at which rule
        ([0.1, 0.55, 1.5], 0.05, UNDECIDED),
        ([0.1, 0.2, 0.1], 0.5, UNDECIDED),  # not significant is not "generalizes"
        ([0.1, NAN, 1.5], 0.05, 2),  # in no set of the second rule
        ([NAN, NAN, NAN], 0.05, UNDECIDED),
        ([0.1, 1.5, 0.1], [0.05, NAN, 0.05], UNDECIDED),  # a gap without an error decides nothing
    ],
)
def test_verdicts(gaps: list[float], se: list[float] | float, expected: int) -> None:
    assert one(gaps, se)[0] == expected


def test_the_margin_is_that_of_the_weakest_bound() -> None:
    rule, distance = one([0.1, 1.2])
    t = stats.t.ppf(1 - 0.05 / 2 / 2, 40)
    assert rule == 1 and distance == pytest.approx(min(0.5 - 0.1 - t * 0.05, 1.2 - t * 0.05 - 0.5))
    assert np.isnan(one([0.45, 1.2])[1])


def test_bounds_hold_together() -> None:
    """No document is called memorized in more than the stated share, however many rules are tried."""
    rng = np.random.default_rng(0)
    rules, documents, degrees, true = 5, 40_000, 12, 0.5  # every gap is exactly the margin
    se = 0.1 * np.sqrt(rng.chisquare(degrees, (rules, documents)) / degrees)
    gap = true + 0.1 * rng.standard_normal((rules, documents))
    found = verdicts(gap, se, np.full(gap.shape, float(degrees)), margin=0.5)
    wrong = (found.rule != UNDECIDED).mean()
    assert wrong < 0.05 + 3 * np.sqrt(0.05 * 0.95 / documents)
