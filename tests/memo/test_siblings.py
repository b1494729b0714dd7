"""The document score taken apart by siblings, against hand-made losses."""

import numpy as np
import pytest

from memo.contrasts import Contrast
from memo.groups import Groups
from memo.siblings import scores_by_siblings

IDS = ["a1", "a2", "b1", "b2", "alone"]
GROUPS = Groups.of_labels(IDS, IDS, ["a", "a", "b", "b", "c"])
# A copy in the split is worth 2 nats without its sibling and 0.5 beside it; group b is worth 0.2 more alone.
INCLUDED = np.array([[0, 0, 0, 0, 1], [0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [1, 1, 1, 1, 0]], dtype=bool)
LOSSES = np.array(
    [
        [5.0, 5.0, 5.0, 5.0, 4.0],
        [3.5, 3.0, 3.3, 2.8, 4.0],
        [3.0, 3.5, 2.8, 3.3, 4.0],
        [3.0, 3.0, 2.8, 2.8, 4.0],
    ]
)


def every_coin() -> Contrast:
    return Contrast(INCLUDED, np.ones_like(INCLUDED), np.full(5, None, dtype=object))


def test_scores_fall_with_the_number_of_siblings() -> None:
    alone, beside = scores_by_siblings(LOSSES, INCLUDED, every_coin(), GROUPS)
    assert (alone.siblings, beside.siblings) == (0, 1)
    assert alone.memorization == pytest.approx((2.0 + 2.2) / 2) and beside.memorization == pytest.approx(0.5)
    assert (alone.groups, alone.documents, alone.losses_in, alone.losses_out) == (2, 4, 4, 4)
    assert alone.se == pytest.approx(0.1)
    assert alone.ci_low == pytest.approx(2.1 - 12.706204736 * 0.1)


def test_splits_in_which_the_group_moved_as_one_do_not_count() -> None:
    coins = every_coin()
    coins.valid[[0, 3]] = False
    assert scores_by_siblings(LOSSES, INCLUDED, coins, GROUPS) == []


def test_one_group_has_no_standard_error() -> None:
    groups = Groups.of_labels(IDS, IDS, ["a", "a", "b", "c", "d"])
    alone, _ = scores_by_siblings(LOSSES, INCLUDED, every_coin(), groups)
    assert alone.memorization == pytest.approx(2.0) and np.isnan(alone.se)


def test_groups_that_overlap_are_refused() -> None:
    overlapping = Groups.of_labels(IDS, ["a1", "a1"], ["x", "y"])
    with pytest.raises(ValueError, match="overlap"):
        scores_by_siblings(LOSSES, INCLUDED, every_coin(), overlapping)
