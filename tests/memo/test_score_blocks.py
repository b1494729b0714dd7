"""Score tables from blocks of documents: the same bits for any cut, any scheduler, packed coins or not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import memo
from memo import tables
from memo.contrasts import contrast, packed_contrast
from memo.errors import MemoError
from memo.estimators import paired_memorization
from memo.estimators.checks import BadValueError
from memo.tables import ScoredRule
from memo.testing import toy_campaign
from pipelines import aggregate
from pipelines.aggregate import score_tables
from pipelines.loss_files import Reader, loss_file

SPLITS, DOCUMENTS = 32, 61
FLOATS = ("memorization", "se", "ci_low", "ci_high", "p_value", "q_value", "loss_in", "loss_out", "accuracy_in")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> memo.Campaign:
    """Documents alone and in groups; a rule of units, one of single documents, one of sets of several units."""
    rng = np.random.default_rng(0)
    label = [f"g{number}" for number in np.minimum(np.arange(DOCUMENTS), 45) // 1]
    included = np.stack([rng.permutation(np.arange(16) < 8) for _ in range(2 * DOCUMENTS)])
    included = included.reshape(DOCUMENTS, SPLITS).T.copy()
    included[:, 45:] = included[:, 45:46]
    effect = rng.exponential(1.0, DOCUMENTS)
    losses = rng.uniform(2, 8, DOCUMENTS) + rng.gamma(2.0, 0.1, (SPLITS, DOCUMENTS)) - np.where(included, effect, 0)
    tokens = rng.integers(10, 100, DOCUMENTS)
    return toy_campaign(
        tmp_path_factory.mktemp("campaign"),
        np.maximum(losses, 0.01),
        included,
        n_correct=np.floor(tokens * np.exp(-np.maximum(losses, 0.01))),
        n_tokens=tokens.tolist(),
        groups={"unit": label, "wide": [f"w{number // 2}" for number in range(DOCUMENTS)]},
        design={"unit": "unit", "base": "balanced", "block": 16},
    )


def frames(campaign: memo.Campaign, splits: list[int] | None = None, documents: int = 1000) -> dict[str, pd.DataFrame]:
    """By the stage."""
    splits = list(range(SPLITS)) if splits is None else splits
    return {name: table.to_pandas() for name, table in score_tables(campaign, campaign.rules(), splits, documents)}


def in_memory(campaign: memo.Campaign, rule: str, splits: list[int], exact: bool = True) -> pd.DataFrame:
    """By the notebook's way, all documents at once."""
    scored = campaign.scored_rule(rule, splits)
    scored.__dict__["exact"] = exact
    return scored.table([scored.score(0, *matrices(campaign, splits))]).to_pandas()


def matrices(campaign: memo.Campaign, splits: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    correct = np.round(campaign.accuracy()[splits] * campaign.n_tokens).astype(np.float32)
    return campaign.losses()[splits], correct


@pytest.mark.parametrize("splits", [list(range(SPLITS)), [*range(5), *range(9, 31)]])
@pytest.mark.parametrize("documents", [1, 3, 7, 16, 60, 61])
def test_any_cut_gives_the_same_bits(
    campaign: memo.Campaign, documents: int, splits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate, "READ_DOCUMENTS", 5)
    for rule, table in frames(campaign, splits, documents).items():
        pd.testing.assert_frame_equal(table, in_memory(campaign, rule, splits), check_exact=True, obj=rule)


@pytest.mark.parametrize("limit", [1, 10**9])
def test_any_precision_gives_the_same_bits_for_any_cut(
    campaign: memo.Campaign, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "EXACT_VALUES", limit)
    whole = frames(campaign)
    for documents in (1, 2, 9):
        for rule, table in frames(campaign, documents=documents).items():
            pd.testing.assert_frame_equal(table, whole[rule], check_exact=True, obj=rule)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes", "distributed"])
def test_any_scheduler_gives_the_same_bits(campaign: memo.Campaign, scheduler: str) -> None:
    import dask
    from distributed import Client

    expected = frames(campaign)
    if scheduler == "distributed":
        with Client(n_workers=1, threads_per_worker=2, dashboard_address=None):
            found = frames(campaign, documents=11)
    else:
        with dask.config.set(scheduler=scheduler):
            found = frames(campaign, documents=11 if scheduler != "processes" else 40)
    for rule, table in found.items():
        pd.testing.assert_frame_equal(table, expected[rule], check_exact=True, obj=rule)


def test_groups_summed_in_several_passes_have_the_same_p_values(
    campaign: memo.Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = frames(campaign)
    monkeypatch.setattr(aggregate, "GROUP_BYTES", 8 * SPLITS * 4)  # the losses of four documents
    for rule, table in frames(campaign, documents=13).items():
        pd.testing.assert_frame_equal(table, expected[rule], rtol=1e-9, obj=rule)
    assert expected["unit"]["p_value"].nunique() > 40 and expected["wide"]["p_value"].notna().any()


def test_scores_of_documents_agree_with_the_estimator(campaign: memo.Campaign) -> None:
    table = frames(campaign)["document"].iloc[:45]
    losses, included = campaign.losses()[:, :45], campaign.included()[:, :45]
    expected = memo.estimators.memorization(losses, included, blocks=np.arange(SPLITS) // 16)
    for name in ("memorization", "se", "ci_low", "ci_high", "p_value", "loss_in", "loss_out"):
        np.testing.assert_allclose(table[name], getattr(expected, name), rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("kind", ["balanced", "sparse", "shifting"])
def test_float32_agrees_with_float64(kind: str) -> None:
    """To 1e-6 nats in the score and 1e-6 relative in the standard error; 5e-6 where a side may have two splits."""
    rng = np.random.default_rng(1)
    splits, documents = 400, 3000
    included = np.tile(np.arange(16) < 8, 25)[:, None].repeat(documents, axis=1)
    included = rng.permuted(included.reshape(25, 16, documents), axis=1).reshape(splits, documents)
    if kind == "sparse":  # the first block of many documents has no losses on one side
        included = rng.random((splits, documents)) < 0.04
    level = rng.uniform(0.5, 11.0, documents)
    losses = level + rng.gamma(4.0, 1.0, (splits, documents)) * rng.uniform(0.01, 0.3, documents)
    losses -= np.where(included, level * rng.uniform(0, 0.98, documents), 0)
    if kind == "shifting":  # models that are worse at everything than others
        losses += rng.normal(0.0, 0.1, (splits, 1))
    losses = np.maximum(losses, 0).astype(np.float32)
    correct = rng.integers(0, 200, (splits, documents)).astype(np.float32)
    exact, fast = (_scored(included, kind != "sparse", precise).score(0, losses, correct) for precise in (True, False))
    assert exact.loss.reason.tolist() == fast.loss.reason.tolist()
    np.testing.assert_allclose(fast.loss.memorization, exact.loss.memorization, rtol=0, atol=1e-6)
    tolerance = 5e-6 if kind == "sparse" else 1e-6
    np.testing.assert_allclose(fast.loss.se, exact.loss.se, rtol=tolerance)
    np.testing.assert_allclose(fast.loss.degrees, exact.loss.degrees, rtol=10 * tolerance)
    np.testing.assert_allclose(fast.accuracy_in, exact.accuracy_in, rtol=1e-6)
    np.testing.assert_allclose(fast.accuracy_out, exact.accuracy_out, rtol=1e-6)


def _scored(included: NDArray[np.bool_], balanced: bool, exact: bool) -> ScoredRule:
    splits, documents = included.shape
    ids = [f"d{index}" for index in range(documents)]
    groups = memo.groups.Groups.of_documents(ids)
    reason = np.full(documents, None, dtype=object)
    sides = memo.contrasts.Contrast(included, np.ones_like(included), reason)
    blocks = np.arange(splits) // 16 if balanced else None
    scored = ScoredRule("document", ids, np.full(documents, 200), groups, sides, blocks, 0.5, (splits, splits))
    scored.__dict__["exact"] = exact
    return scored


@pytest.mark.parametrize("blocks", [1, 2])
def test_packed_coins_are_the_coins(campaign: memo.Campaign, blocks: int) -> None:
    asked, treated = campaign.decisions()
    packed = [
        tuple(np.packbits(bits[rows], axis=1) for bits in (asked, treated)) for rows in np.split(np.arange(32), blocks)
    ]
    for rule in campaign.rules():
        groups = campaign.scored_rule(rule).groups
        plain = contrast(asked, treated, campaign.units, groups)
        found = packed_contrast(packed, campaign.units, groups)  # type: ignore[arg-type]
        assert found.reason.tolist() == plain.reason.tolist()
        for sets in (slice(0, len(groups.ids)), slice(5, 14), np.array([3, 0, 17]), np.arange(len(groups.ids))):
            in_side, valid = found.sides(slice(2, 30), sets)
            counts = plain.valid[2:30, sets]
            np.testing.assert_array_equal(np.ones_like(counts) if valid is None else valid, counts)
            np.testing.assert_array_equal(in_side * counts, plain.treated[2:30, sets] & counts)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5])
@pytest.mark.parametrize("name", ["loss", "n_correct"])
def test_a_number_that_cannot_be_is_refused_with_split_and_document(tmp_path: Path, bad: float, name: str) -> None:
    rng = np.random.default_rng(2)
    matrices = {"loss": rng.gamma(2.0, size=(8, 20)), "n_correct": rng.integers(0, 9, (8, 20)).astype(float)}
    matrices[name][5, 13] = bad
    included = np.arange(8)[:, None] % 2 == np.arange(20)[None] % 2
    campaign = toy_campaign(tmp_path, matrices["loss"], included, n_correct=matrices["n_correct"])
    with pytest.raises(MemoError, match=rf"split 5, document 'd13': expected a {name} that is a finite number"):
        list(score_tables(campaign, ["document"], [0, 1, 2, 3, 5, 6, 7], 6))
    with pytest.raises(BadValueError, match=rf"{name}\[5, 13\]"):
        campaign.scores(evaluation=-1)


def test_correct_tokens_that_are_not_known_stay_unknown(campaign: memo.Campaign) -> None:
    scored = campaign.scored_rule("document")
    losses, _ = matrices(campaign, list(range(SPLITS)))
    table = scored.table([scored.score(0, losses, np.full_like(losses, np.nan))]).to_pandas()
    assert table["accuracy_in"].isna().all() and table["memorization"].notna().any()


def test_loss_files_are_read_where_they_say(campaign: memo.Campaign, tmp_path: Path) -> None:
    path = campaign.layout.losses(3)
    out = np.zeros((1, 7), dtype=np.float32)
    with Reader([loss_file(path)]) as reader:
        reader.read("loss", 11, out)
    np.testing.assert_array_equal(out[0], campaign.losses()[3, 11:18])
    short, other = tmp_path / "short.safetensors", tmp_path / "other.safetensors"
    short.write_bytes(path.read_bytes()[:-200])
    with Reader([loss_file(short)]) as reader, pytest.raises(MemoError, match="end of the file"):
        reader.read("n_correct", 30, np.zeros((1, 31), dtype=np.float32))
    other.write_bytes(b"\x00" * 100)
    with pytest.raises(MemoError, match="expected float32 tensors"):
        loss_file(other)


def test_one_split_has_means_of_one_side_and_says_so(campaign: memo.Campaign) -> None:
    table = frames(campaign, [4])["document"]
    assert table["memorization"].isna().all() and table["reason"].notna().all()
    assert (table["loss_in"].notna() | table["loss_out"].notna() | (table["n_in"] + table["n_out"] == 0)).all()


def test_rows_of_a_pipeline_are_those_of_the_notebook(campaign: memo.Campaign) -> None:
    scored = replace(campaign.scored_rule("wide"))
    losses, correct = matrices(campaign, list(range(SPLITS)))
    parts = [
        scored.score(start, losses[:, start : start + 9], correct[:, start : start + 9]) for start in range(0, 61, 9)
    ]
    whole = scored.table([scored.score(0, losses, correct)])
    pd.testing.assert_frame_equal(scored.table(parts).to_pandas(), whole.to_pandas(), rtol=1e-12)


def test_a_complement_campaign_is_scored_in_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    first = rng.random((8, 9)) < 0.5
    included = np.stack([first, ~first], axis=1).reshape(16, 9)
    included[:, 8] = included[:, 7]
    losses = 3 + rng.gamma(2.0, 0.1, (16, 9)) - 0.4 * included
    label = [f"g{min(number, 7)}" for number in range(9)]
    design = {"base": "complement", "block": 8}
    found = toy_campaign(tmp_path / "c", losses, included, groups={"pair": label}, design=design)
    pairs, losses = np.arange(16).reshape(-1, 2), losses.astype(np.float32)
    expected = paired_memorization(losses, included, pairs)
    tables = frames(found, list(range(16)))
    for name in ("memorization", "se", "ci_low", "p_value", "loss_in", "n_in", "n_out"):
        np.testing.assert_allclose(tables["document"][name], getattr(expected, name), rtol=1e-9, atol=1e-12)
    of_group = paired_memorization(losses[:, 7:].astype(float).mean(axis=1, keepdims=True), included[:, 7:8], pairs)
    both = tables["pair"].iloc[7:]
    np.testing.assert_allclose(both["p_value"], of_group.p_value[0], rtol=1e-9)
    fewer = frames(found, [0, 1, 2, 4, 5, 9, 10, 11])  # 2 and 9 have no partner
    expected = paired_memorization(losses, included, pairs[[0, 2, 5]])
    np.testing.assert_allclose(fewer["document"]["se"], expected.se, rtol=1e-9)
    assert (fewer["document"]["n_in"] == 3).all()
    with pytest.raises(MemoError, match="found 2 splits without their partners"):
        frames(found, [1, 2])
