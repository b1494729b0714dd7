"""Losses and masks made elsewhere become a campaign, and a campaign goes out and comes in again with equal scores."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import memo
from memo.errors import MemoError, UsageError
from memo.estimators import influence, memorization
from memo.layout import Layout, record_path
from memo.testing import toy_campaign
from pipelines.bank import Sources
from pipelines.exporting import run_export
from pipelines.importing import run_import
from pipelines.progress import Reporter
from pipelines.stages import run_stage
from pipelines.status import status
from pipelines.verify import repair, verify

QUIET = Reporter(quiet=True)
MODELS, DOCUMENTS = 12, 9


def memo_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300)


def error_of(result: subprocess.CompletedProcess[str], code: int = 2) -> str:
    errors = [line for line in result.stderr.splitlines() if line.startswith("memo: error: ")]
    assert result.returncode == code and len(errors) == 1 and "Traceback" not in result.stderr, result.stderr
    return errors[0]


def numbers(seed: int = 0, texts: int = DOCUMENTS) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """losses (M, T), masks (M, N); each document is in 4 to 8 of the models."""
    rng = np.random.default_rng(seed)
    masks = np.stack([rng.permutation(MODELS) < rng.integers(4, 9) for _ in range(DOCUMENTS)], axis=1)
    losses = 3 + rng.random((MODELS, texts), dtype=np.float32)
    losses[:, :DOCUMENTS] -= masks[:, :texts]
    return losses, masks


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def imported(root: Path, path: Path, **sources: Any) -> memo.Campaign:
    run_import(Sources(path, **sources), root, QUIET)
    return memo.open(root)


def aggregated(root: Path) -> pd.DataFrame:
    run_stage("aggregate", root, QUIET)
    return memo.open(root).scores()


def test_the_contract_from_the_command_line(tmp_path: Path) -> None:
    losses, masks = numbers()
    path, root = saved(tmp_path / "bank.npz", losses=losses, masks=masks), tmp_path / "bank"
    line = ["import", "--losses", path, "--dir", root]
    assert f"imported: 12 models; next: memo aggregate {root}" in memo_command(*line).stdout
    assert "already imported" in memo_command(*line).stdout
    assert memo_command("aggregate", root).returncode == 0
    rows = json.loads(memo_command("scores", root, "--json").stdout)
    by_hand = memorization(losses, masks)
    found = {row["doc_id"]: row for row in rows}
    for position in range(DOCUMENTS):
        row = found[f"d{position}"]
        assert row["memorization"] == pytest.approx(by_hand.memorization[position], abs=1e-6)
        assert row["se"] == pytest.approx(by_hand.se[position], abs=1e-6)
        assert row["accuracy_in"] is None and row["n_tokens"] is None and row["removed_share"] is None
        assert row["reason"] == "imported without n_tokens and accuracy"
    shown = (["scores"], ["show", "d3"], ["spectrum"], ["spectrum", "--doc", "d3"], ["status"], ["verify"])
    for name, *arguments in shown:
        result = memo_command(name, root, *arguments)
        assert result.returncode == 0, result.stderr
    for arguments in (
        ["run", root / "campaign.yaml", "--dir", root],
        ["ingest", root / "campaign.yaml", "--dir", tmp_path / "other"],
        ["train", root],
        ["train", root, "--splits", "0"],
        ["sample", root],
    ):
        assert "found one made by `memo import`" in error_of(memo_command(*arguments))
    assert not (tmp_path / "other").exists()


def test_the_front_door_gives_what_was_put_in(tmp_path: Path) -> None:
    losses, masks = numbers()
    campaign = imported(tmp_path / "c", saved(tmp_path / "b.npz", losses=losses, masks=masks))
    np.testing.assert_array_equal(campaign.losses(), losses)
    np.testing.assert_array_equal(campaign.included(), masks)
    assert np.isnan(campaign.accuracy()).all()
    found = campaign.influence(documents=["d2", "d5"], texts=["d5", "d0"])
    expected = influence(losses, masks)
    np.testing.assert_array_equal(found.influence, expected.influence[[2, 5]][:, [5, 0]])
    np.testing.assert_array_equal(found.se, expected.se[[2, 5]][:, [5, 0]])
    with pytest.raises(UsageError, match="found 'nobody'"):
        campaign.influence(texts=["nobody"])
    told = status(tmp_path / "c")
    assert told["stages"]["train"]["done"] == 12 and told["corpus"]["kept"] == DOCUMENTS
    assert verify(tmp_path / "c", QUIET)["findings"] == []


def test_documents_bring_texts_tokens_and_columns_for_rules(tmp_path: Path) -> None:
    losses, masks = numbers()
    rows = [{"doc_id": f"x{i}", "text": f"text {i // 2}", "n_tokens": 10 + i, "source": i % 2} for i in range(9)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    correct = np.random.default_rng(2).integers(0, 11, losses.shape)
    path = saved(tmp_path / "b.npz", losses=losses, masks=masks, n_correct=correct)
    root = tmp_path / "c"
    campaign = imported(root, path, documents=tmp_path / "d.jsonl")
    assert campaign.documents()["source"].tolist() == [str(i % 2) for i in range(9)]
    config = Layout(root).config
    config.write_text(config.read_text().replace("rules: []", "rules: [{name: exact, rule: exact}]"))
    run_stage("group", root, QUIET)
    scores = aggregated(root).set_index("doc_id")
    assert scores["reason"].isna().all() and scores.loc["x3", "n_tokens"] == 13
    accuracy = memorization(correct / (10.0 + np.arange(9)), masks)
    np.testing.assert_allclose(scores["accuracy_in"], accuracy.loss_in, atol=1e-6)
    assert scores.loc["x0", "removed_share"] == pytest.approx(10 / (10 + masks.mean() * (126 - 10)))
    assert memo.open(root).scores("exact").loc[0, "group_size"] == 2
    # Running the same import again keeps the rules that were added since.
    assert [spec.name for spec in imported(root, path, documents=tmp_path / "d.jsonl").config.rules] == ["exact"]


def test_an_accuracy_needs_no_tokens(tmp_path: Path) -> None:
    losses, masks = numbers()
    shares = np.random.default_rng(1).random(losses.shape)
    np.save(tmp_path / "a.npy", shares)
    path = saved(tmp_path / "b.npz", losses=losses, masks=masks)
    campaign = imported(tmp_path / "c", path, accuracy=tmp_path / "a.npy")
    np.testing.assert_allclose(campaign.accuracy(), shares, atol=1e-6)
    scores = aggregated(tmp_path / "c")
    np.testing.assert_allclose(scores["accuracy_out"], memorization(shares, masks).loss_out, atol=1e-6)
    assert set(scores["reason"]) == {"imported without n_tokens"}


def test_right_and_wrong_are_accuracies_and_losses_as_well(tmp_path: Path) -> None:
    """As Feldman and Zhang (2020) published theirs: a bool per model and example, no losses."""
    right = np.random.default_rng(1).random((MODELS, DOCUMENTS)) < 0.6
    campaign = imported(
        tmp_path / "c", saved(tmp_path / "b.npz", losses=1 - right.astype(int), masks=MASKS, accuracy=right)
    )
    np.testing.assert_array_equal(campaign.accuracy(), right)
    scores = aggregated(tmp_path / "c")
    np.testing.assert_allclose(scores["memorization"], scores["memorization_accuracy"], atol=1e-12)


def test_masks_that_are_the_wrong_way_round_are_suspected(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = rng.permuted((np.arange(16) < 8)[:, None].repeat(30, axis=1), axis=0)
    losses = (3 + 0.1 * rng.random(masks.shape) - masks).astype(np.float32)
    for name, given, suspected in (("right", masks, False), ("wrong", ~masks, True)):
        root = tmp_path / name
        imported(root, saved(tmp_path / f"{name}.npz", losses=losses, masks=given))
        told = memo_command("aggregate", root)
        said = told.stdout + memo_command("status", root).stdout
        assert told.returncode == 0 and ("100% of the scores are below zero" in said) == suspected, said


def test_two_arrays_of_their_own(tmp_path: Path) -> None:
    losses, masks = numbers()
    np.save(tmp_path / "l.npy", losses.astype(np.float64))
    np.save(tmp_path / "m.npy", masks.astype(np.int64))
    campaign = imported(tmp_path / "c", tmp_path / "l.npy", masks=tmp_path / "m.npy")
    np.testing.assert_array_equal(campaign.losses(), losses)
    np.testing.assert_array_equal(campaign.included(), masks)


def test_texts_that_are_no_documents_have_influence_alone(tmp_path: Path) -> None:
    losses, masks = numbers(texts=4)
    root = tmp_path / "c"
    campaign = imported(root, saved(tmp_path / "b.npz", losses=losses, masks=masks))
    np.testing.assert_array_equal(campaign.evaluation_losses(), losses)
    assert campaign.evaluation_texts()["doc_id"].tolist() == ["t0", "t1", "t2", "t3"]
    np.testing.assert_array_equal(campaign.influence().influence, influence(losses, masks).influence)
    for call in (campaign.losses, campaign.scores, campaign.accuracy):
        with pytest.raises(UsageError, match="evaluation_losses"):
            call()
    assert "no memorization scores to make" in " ".join(error_of(memo_command("aggregate", root)).split())
    assert status(root)["complete"] and verify(root, QUIET)["findings"] == []
    run_export(root, "npz", tmp_path / "out.npz", False, False, QUIET)
    again = imported(tmp_path / "again", tmp_path / "out.npz")
    np.testing.assert_array_equal(again.evaluation_losses(), losses)


def test_documents_are_found_among_the_texts_by_their_ids(tmp_path: Path) -> None:
    losses, masks = numbers(texts=DOCUMENTS + 3)
    documents = [f"doc {i}" for i in range(DOCUMENTS)]
    order = np.random.default_rng(4).permutation(DOCUMENTS + 3)
    texts = np.array([*documents, "e0", "e1", "e2"])[order]
    path = saved(tmp_path / "b.npz", losses=losses[:, order], masks=masks, documents=documents, texts=texts)
    campaign = imported(tmp_path / "c", path)
    np.testing.assert_array_equal(campaign.losses(), losses[:, :DOCUMENTS])
    others = [int(i[1:]) + DOCUMENTS for i in campaign.evaluation_texts()["doc_id"]]
    np.testing.assert_array_equal(campaign.evaluation_losses(), losses[:, others])


def test_blocks_make_errors_stratified(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    masks = np.concatenate([rng.permuted(np.arange(6)[:, None] % 2 == np.zeros(9), axis=0) for _ in range(2)])
    losses = 3 + rng.random(masks.shape, dtype=np.float32)
    blocks = np.arange(12) // 6
    path = saved(tmp_path / "b.npz", losses=losses, masks=masks)
    imported(tmp_path / "one", path)
    imported(tmp_path / "two", path, blocks=2)
    imported(tmp_path / "sized", path, block_size=6)
    imported(tmp_path / "given", saved(tmp_path / "g.npz", losses=losses, masks=masks, blocks=blocks))
    for name, expected in (("one", None), ("two", blocks), ("sized", blocks), ("given", blocks)):
        se = aggregated(tmp_path / name)["se"]
        np.testing.assert_allclose(se, memorization(losses, masks, blocks=expected).se, rtol=1e-5)


def test_a_document_that_is_always_in_has_no_score_and_says_why(tmp_path: Path) -> None:
    losses, masks = numbers()
    masks[:, 0], masks[:, 1] = True, False
    imported(tmp_path / "c", saved(tmp_path / "b.npz", losses=losses, masks=masks))
    scores = aggregated(tmp_path / "c").set_index("doc_id")
    assert scores.loc[["d0", "d1"], "memorization"].isna().all()
    assert scores.loc[["d0", "d1"], "reason"].tolist() == ["left out of no split: no score", "in no split: no score"]


def balanced(root: Path) -> memo.Campaign:
    """A campaign whose coins were not flipped for every document in every split, in two balanced blocks."""
    from memo.splits import Block, block_bytes
    from memo.store import publishing

    rng = np.random.default_rng(3)
    included = rng.random((16, 6)) < 0.5
    losses = (3 + rng.random((16, 6)) - included).astype(np.float32)
    design = {"block": 8, "base": "balanced"}
    tokens = [10, 20, 30, 40, 50, 60]
    campaign = toy_campaign(root, losses, included, n_correct=2 * losses, n_tokens=tokens, design=design)
    for block in range(2):
        rows = included[block * 8 : block * 8 + 8]
        asked = rng.random(rows.shape) < 0.8
        with publishing(campaign.layout.block(block), {}) as path:
            none = np.zeros((8, 0), dtype=bool)
            path.write_bytes(block_bytes(Block(asked=asked, treated=rows & asked, included=rows, controls=none)))
    return memo.open(root)


@pytest.mark.parametrize("form", ["npz", "parquet", "safetensors"])
def test_what_goes_out_comes_in_with_equal_scores(tmp_path: Path, form: str) -> None:
    campaign = balanced(tmp_path / "first")
    path, models = run_export(tmp_path / "first", form, tmp_path / f"x.{form}", False, False, QUIET)
    assert models == 16
    again = imported(tmp_path / "again", path)
    before, after = campaign.scores(evaluation=-1), again.scores(evaluation=-1)
    removed = "removed_share"  # from the share of the masks, where the design's was not kept
    pd.testing.assert_frame_equal(before.drop(columns=removed), after.drop(columns=removed))
    run_export(tmp_path / "again", form, tmp_path / f"y.{form}", False, False, QUIET)
    once_more = imported(tmp_path / "third", tmp_path / f"y.{form}")
    pd.testing.assert_frame_equal(after, once_more.scores(evaluation=-1))


@pytest.mark.parametrize("form", ["npz", "parquet", "safetensors"])
def test_every_evaluation_goes_out_if_wanted(tmp_path: Path, form: str) -> None:
    losses, masks = numbers()
    both = np.stack([losses + 1, losses], axis=1)
    path = saved(tmp_path / "b.npz", losses=both, masks=masks, epochs=np.array([5, 20]))
    campaign = imported(tmp_path / "c", path)
    assert campaign.config.training.evaluations == (5, 20)
    run_export(tmp_path / "c", form, tmp_path / f"x.{form}", True, False, QUIET)
    again = imported(tmp_path / "again", tmp_path / f"x.{form}")
    for evaluation in (0, 1):
        np.testing.assert_array_equal(again.losses(evaluation), both[:, evaluation])
    assert again.config.training.evaluations == (5, 20)


def test_a_partial_campaign_names_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaign = balanced(tmp_path / "c")
    record_path(campaign.layout.losses(3)).unlink()
    with pytest.raises(MemoError, match="expected 16 models, found 15; missing: 3"):
        run_export(tmp_path / "c", "npz", tmp_path / "x.npz", False, False, QUIET)
    path, models = run_export(tmp_path / "c", "npz", tmp_path / "x.npz", False, True, Reporter())
    assert models == 15 and "left out: 3" in capsys.readouterr().err
    again = imported(tmp_path / "again", path)
    assert again.config.imported is not None and again.config.imported.blocks == (7, 8)
    before = campaign.scores(evaluation=-1, allow_partial=True)
    np.testing.assert_array_equal(again.scores(evaluation=-1)["se"], before["se"])


def test_scores_of_what_is_left_of_an_import_say_what_can_be_done(tmp_path: Path) -> None:
    losses, masks = numbers()
    root = tmp_path / "c"
    layout = imported(root, saved(tmp_path / "b.npz", losses=losses, masks=masks)).layout
    record_path(layout.losses(5)).unlink()
    refused = error_of(memo_command("aggregate", root), code=1)
    assert "split 5 is not: its losses are missing or damaged. To go on, import the same files again" in refused
    assert f"--dir {root}, or take what is there: memo aggregate {root} --allow-partial" in refused
    with pytest.raises(MemoError, match="11 of 12 models are there; import the same files again, or take"):
        memo.open(root).losses()
    assert memo_command("aggregate", root, "--allow-partial").returncode == 0
    assert memo.open(root).scores().attrs == {"models": 11, "of": 12}


def test_an_import_that_was_stopped_goes_on_and_mends_damage(tmp_path: Path) -> None:
    losses, masks = numbers()
    path, root = saved(tmp_path / "b.npz", losses=losses, masks=masks), tmp_path / "c"
    layout = imported(root, path).layout
    before = record_path(layout.losses(0)).read_bytes()
    record_path(layout.losses(5)).unlink()
    layout.losses(7).write_bytes(b"damage")
    damaged = verify(root, QUIET)["findings"]
    assert [finding["path"] for finding in damaged] == [f"losses/split-0000{i}.safetensors" for i in (5, 7)]
    with pytest.raises(MemoError, match="was imported and cannot be made anew"):
        repair(root, damaged, QUIET)
    np.testing.assert_array_equal(imported(root, path).losses(), losses)
    assert verify(root, QUIET)["findings"] == [] and record_path(layout.losses(0)).read_bytes() == before


def test_a_directory_with_another_campaign_is_left_alone(tmp_path: Path) -> None:
    losses, masks = numbers()
    path = saved(tmp_path / "b.npz", losses=losses, masks=masks)
    imported(tmp_path / "c", path)
    other = saved(tmp_path / "o.npz", losses=losses + 1, masks=masks)
    with pytest.raises(UsageError, match=r"holds another import: imported\.sha256\.losses: the campaign has"):
        imported(tmp_path / "c", other)
    toy_campaign(tmp_path / "toy", losses, masks)
    with pytest.raises(UsageError, match="found a campaign that memo trains"):
        imported(tmp_path / "toy", path)
    with pytest.raises(UsageError, match="expected a directory or nothing, found a file"):
        imported(path, path)


def at(matrix: NDArray[Any], place: tuple[int, int], value: float) -> NDArray[Any]:
    changed = matrix.copy()
    changed[place] = value
    return changed


LOSSES, MASKS = numbers()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"masks": MASKS[:6]}, "masks: expected the shape (12, documents), a row for each model"),
        ({"masks": MASKS[0]}, "masks: expected the shape (12, documents)"),
        ({"losses": LOSSES[0]}, "losses: expected the shape (models, texts), found (9,)"),
        ({"losses": LOSSES[:1], "masks": MASKS[:1]}, "expected at least 2 models"),
        ({"masks": MASKS[:, :0]}, "expected at least one document"),
        ({"losses": at(LOSSES, (2, 3), np.nan)}, "losses[2, 3]: expected a loss from 0 to 3.4e+38, found nan"),
        ({"losses": at(LOSSES, (4, 0), np.inf)}, "losses[4, 0]: expected a loss from 0 to 3.4e+38, found inf"),
        ({"losses": at(LOSSES, (4, 8), -0.5)}, "found -0.5 for model 'model-00004' and text 'd8'"),
        ({"masks": np.ones_like(MASKS)}, "found the same mask in all 12"),
        ({"masks": np.tile(MASKS[:1], (12, 1))}, "found the same mask in all 12"),
        ({"masks": MASKS.astype(np.float32)}, "masks: expected booleans, or 0 and 1 as whole numbers, found float32"),
        ({"masks": at(MASKS.astype(int), (1, 2), 7)}, "masks[1, 2]: expected 0 or 1, found 7"),
        ({"masks": np.full(MASKS.shape, None)}, "found an array of Python objects"),
        ({"losses": LOSSES.astype(str)}, "losses: expected numbers, found <U"),
        ({"documents": ["a"] * 9}, "found 'a' twice"),
        ({"documents": ["a", "b"]}, "expected 9 documents, as the matrix has, found 2 names"),
        ({"models": ["m"] * 12}, "names of models: expected every identifier once, found 'm' twice"),
        ({"n_correct": np.ones(LOSSES.shape)}, "expected the number of tokens of every text beside it"),
        ({"n_correct": at(LOSSES, (0, 1), 9), "n_tokens": [8] * 9}, "n_correct[0, 1]: expected a number from 0 to"),
        ({"accuracy": at(LOSSES * 0, (3, 1), 1.5)}, "accuracy[3, 1]: expected a share from 0 to 1, found 1.5"),
        ({"accuracy": LOSSES[:2]}, "accuracy: expected the shape (12, 9)"),
        ({"n_tokens": [0] * 9}, "n_tokens[0]: expected at least 1 token"),
        ({"blocks": [0, 1] * 6}, "the models of a block side by side"),
        ({"asked": MASKS[:, :2]}, "asked: expected the shape (12, 9)"),
        ({"losses": np.stack([LOSSES, LOSSES], axis=1), "epochs": [2, 1]}, "expected 2 rising whole epochs"),
    ],
)
def test_numbers_that_cannot_be_used_are_one_line(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "b.npz", **{"losses": LOSSES, "masks": MASKS, **arrays})
    with pytest.raises(UsageError) as error:
        imported(tmp_path / "c", path)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "c").exists()


def test_missing_keys_name_what_is_there(tmp_path: Path) -> None:
    path = saved(tmp_path / "b.npz", nll=LOSSES, masks=MASKS)
    message = error_of(memo_command("import", "--losses", path, "--dir", tmp_path / "c"))
    assert "expected the key `losses`, found `masks`, `nll`; where only accuracies were kept, 1 - accuracy" in message
    with pytest.raises(UsageError, match="expected the key `masks`, found `losses`; give the masks"):
        imported(tmp_path / "c", saved(tmp_path / "l.npz", losses=LOSSES))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"doc_id": "a"}\n' * 9, "expected every identifier once, found 'a' twice"),
        ('{"doc_id": "a"}\n', "expected 9 rows, one for each of the documents"),
        ('{"title": "a"}\n', "expected a column doc_id, found title"),
        ('{"doc_id": null}\n', "expected a doc_id in every row, found 1 without"),
        ('{"doc_id": "a", "n_tokens": 0}\n', "n_tokens of row 0: expected at least 1, found 0"),
        ('{"doc_id": "a"}\n{"doc_id": \n', "d.jsonl:2: expected a JSON object"),
        ("[1]\n", "d.jsonl:1: expected a JSON object, found list"),
        ('{"doc_id": "\\ud800"}\n', "d.jsonl:1: doc_id: expected text that a file can hold, found the lone surrogate"),
        ("", "expected a column doc_id, found none"),
    ],
)
def test_documents_that_do_not_fit_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "d.jsonl").write_text(content)
    path = saved(tmp_path / "b.npz", losses=LOSSES, masks=MASKS)
    with pytest.raises(UsageError) as error:
        imported(tmp_path / "c", path, documents=tmp_path / "d.jsonl")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": 5}, "--blocks: expected blocks of equal size, found 12 models"),
        ({"block_size": 7}, "--block-size: expected blocks of equal size, found 12 models"),
        ({"blocks": 2, "block_size": 6}, "found both"),
        ({"documents": Path("d.csv")}, "expected a .parquet or .jsonl file"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "b.npz", losses=LOSSES, masks=MASKS)
    with pytest.raises(UsageError) as error:
        imported(tmp_path / "c", path, **options)
    assert message in str(error.value)


def test_an_export_overwrites_nothing(tmp_path: Path) -> None:
    balanced(tmp_path / "c")
    (tmp_path / "x.npz").write_text("mine")
    root = tmp_path / "c"
    assert "found one; name another" in error_of(
        memo_command("export", root, "--format", "npz", "--out", tmp_path / "x.npz")
    )
    assert "expected one of npz, parquet, safetensors" in error_of(memo_command("export", root, "--format", "pickle"))
    assert "ends in .parquet" in error_of(
        memo_command("export", root, "--format", "parquet", "--out", tmp_path / "x.txt")
    )
    assert (tmp_path / "x.npz").read_text() == "mine"


def test_a_design_that_was_not_imported_is_refused(tmp_path: Path) -> None:
    imported(tmp_path / "c", saved(tmp_path / "b.npz", losses=LOSSES, masks=MASKS))
    config = tmp_path / "c" / "campaign.yaml"
    config.write_text(config.read_text().replace("splits: 12", "splits: 24"))
    assert "expected 12 splits, base bernoulli and unit document" in error_of(memo_command("status", tmp_path / "c"))
