"""A whole score table from losses made by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import memo
from memo.contrasts import NOT_DECIDED
from memo.errors import MemoError, UsageError
from memo.layout import record_path
from memo.tables import COLUMNS
from memo.testing import toy_campaign

#                     d0   d1   d2   d3
LOSSES = np.array([[1.0, 1.0, 2.0, 4.0],
                   [2.0, 1.5, 2.5, 4.0],
                   [1.5, 2.0, 5.0, 4.0],
                   [5.0, 3.0, 6.0, 4.0],
                   [6.0, 3.5, 2.0, 4.0],
                   [5.5, 4.0, 5.5, 4.0]])  # fmt: skip
INCLUDED = np.array([[1, 1, 1, 1],
                     [1, 1, 1, 1],
                     [1, 1, 0, 1],
                     [0, 0, 0, 1],
                     [0, 0, 1, 1],
                     [0, 0, 0, 1]], dtype=bool)  # fmt: skip


@pytest.fixture
def campaign(tmp_path: Path) -> memo.Campaign:
    groups = {"pair": ["a", "a", "b", "c"], "cut": ["x", "y", "y", "z"]}
    return toy_campaign(
        tmp_path,
        LOSSES,
        INCLUDED,
        n_correct=(10 - LOSSES),
        n_tokens=[10, 20, 30, 40],
        groups=groups,
        design={"unit": "pair"},
    )


def test_the_table_has_the_documented_columns_in_order(campaign: memo.Campaign) -> None:
    table = campaign.scores("pair", evaluation=-1)
    assert list(table.columns) == list(COLUMNS)
    assert table["doc_id"].tolist() == ["d0", "d1", "d2", "d3"]


def test_group_scores_are_exact(campaign: memo.Campaign) -> None:
    table = campaign.scores("pair", evaluation=-1).set_index("doc_id")
    assert table.loc["d0", "memorization"] == pytest.approx(5.5 - 1.5, abs=1e-12)
    assert table.loc["d1", "memorization"] == pytest.approx(3.5 - 1.5, abs=1e-12)
    assert table.loc["d0", "group_size"] == 2 and table.loc["d2", "group_size"] == 1
    # 30 tokens of the group; a split that has it expects 30 + 0.5 x 70.
    assert table.loc["d0", "removed_share"] == pytest.approx(30 / 65, abs=1e-12)
    assert table.loc["d0", "accuracy_in"] == pytest.approx(8.5 / 10, abs=1e-12)
    assert table.loc["d1", "memorization_accuracy"] == pytest.approx((8.5 - 6.5) / 20, abs=1e-12)


def test_members_of_a_group_share_the_p_value_of_its_mean_loss(campaign: memo.Campaign) -> None:
    table = campaign.scores("pair", evaluation=-1).set_index("doc_id")
    means = LOSSES[:, :2].mean(axis=1, keepdims=True)
    expected = memo.estimators.memorization(means, INCLUDED[:, :1]).p_value[0]
    assert table.loc["d0", "p_value"] == table.loc["d1", "p_value"] == pytest.approx(expected, abs=1e-12)


def test_what_has_no_score_says_why(campaign: memo.Campaign) -> None:
    by_document = campaign.scores("document", evaluation=-1).set_index("doc_id")
    assert np.isnan(by_document.loc["d0", "memorization"]) and by_document.loc["d0", "reason"] == NOT_DECIDED
    assert by_document.loc["d2", "memorization"] == pytest.approx((5 + 6 + 5.5) / 3 - (2 + 2.5 + 2) / 3)
    assert by_document.loc["d3", "reason"] == "left out of no split: no score"
    cut = campaign.scores("cut", evaluation=-1).set_index("doc_id")
    assert cut.loc["d0", "reason"] == cut.loc["d1", "reason"] == NOT_DECIDED
    assert np.isnan(cut.loc["d1", "memorization"])


def test_a_set_of_several_units_counts_where_it_is_whole(tmp_path: Path) -> None:
    campaign = toy_campaign(tmp_path, LOSSES, INCLUDED, groups={"both": ["s", "t", "s", "u"]})
    row = campaign.scores("both", evaluation=-1).set_index("doc_id").loc["d0"]
    # d0 and d2 together: whole in in splits 0 and 1, whole out in 3 and 5.
    assert (row["n_in"], row["n_out"]) == (2, 2)
    assert row["memorization"] == pytest.approx((5 + 5.5) / 2 - (1 + 2) / 2)


def test_any_cut_into_blocks_gives_the_same_table(campaign: memo.Campaign) -> None:
    scored = campaign.scored_rule("pair")
    whole = scored.table([scored.score(0, LOSSES, LOSSES)])
    pieces = [scored.score(start, LOSSES[:, start : start + 1], LOSSES[:, start : start + 1]) for start in range(4)]
    pd.testing.assert_frame_equal(scored.table(pieces[::-1]).to_pandas(), whole.to_pandas(), rtol=1e-12)
    with pytest.raises(ValueError, match="exactly once"):
        scored.table(pieces[:3])
    with pytest.raises(ValueError, match="exactly once"):
        scored.table([*pieces, pieces[2]])


def test_a_campaign_shows_its_matrices(campaign: memo.Campaign) -> None:
    np.testing.assert_array_equal(campaign.included(), INCLUDED)
    np.testing.assert_array_equal(campaign.losses(), LOSSES.astype(np.float32))
    assert campaign.rules() == ["document", "pair", "cut"]
    assert "6 of 6 models" in repr(campaign)


def test_missing_models_are_an_error_unless_asked_for(campaign: memo.Campaign) -> None:
    record_path(campaign.layout.losses(2)).unlink()
    with pytest.raises(MemoError, match="5 of 6"):
        campaign.losses()
    partial = campaign.losses(allow_partial=True)
    assert np.isnan(partial[2]).all() and np.isfinite(np.delete(partial, 2, axis=0)).all()


def test_wrong_questions_are_answered_in_one_line(campaign: memo.Campaign, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="known: document, pair, cut"):
        campaign.scores("frogs")
    with pytest.raises(UsageError, match="found 3"):
        campaign.scores("pair", evaluation=3)
    with pytest.raises(MemoError, match="memo aggregate"):
        campaign.scores("pair")
    with pytest.raises(UsageError, match="campaign directory"):
        memo.open(tmp_path / "none")
