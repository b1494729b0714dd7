"""A campaign that copies documents, with trained models: splits really have the copies, and more are better known."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import memo
from memo.copies import COLUMNS, dose_curve_of
from memo.errors import UsageError
from memo.store import read_record
from pipelines.split_files import documents_of
from pipelines.workspace import open_workspace

EPOCHS, SPLITS = 25, 24
SETTINGS = """
corpus: {path: corpus.jsonl}
tokenizer: {vocab_size: 300}
context_tokens: 32
controls: {phantoms: 4, canaries: 4}
rules: [{name: chosen, rule: field, column: kind}]
design: {splits: 24, copies: {rule: chosen, counts: [0, 1, 8]}, max_removed: 0.5}
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, initializer_range: 0.08}
training: {epochs: 25, stack: 2}
"""


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies")
    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{w}" for w in rng.integers(0, 60, 10)) for _ in range(30)]
    rows = [{"id": f"t{i}", "text": text, **({"kind": "x"} if i < 8 else {})} for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = SETTINGS.replace("{path: corpus.jsonl}", "{path: corpus.jsonl, metadata: [kind]}")
    (folder / "campaign.yaml").write_text(text)
    result = command("run", folder / "campaign.yaml", "--dir", folder / "campaign")
    assert result.returncode == 0, result.stderr
    assert "sample: copies: 8 documents, each 0, 1 or 8 times in a split, 8 splits for each number" in result.stderr
    return folder / "campaign"


def test_models_train_on_so_many_copies(root: Path) -> None:
    campaign, workspace = memo.open(root), open_workspace(root)
    copies, included = campaign.copies(), campaign.included()
    assert list(copies.columns) == [f"t{i}" for i in range(8)] and copies.shape == (SPLITS, 8)
    np.testing.assert_array_equal(included[:, :8], copies.to_numpy() > 0)
    coins, texts = campaign.bits("controls"), campaign.control_texts()
    for split in range(SPLITS):
        trained = documents_of(workspace, split)
        times = np.bincount(trained, minlength=len(campaign.doc_ids))[: len(campaign.doc_ids)]
        np.testing.assert_array_equal(times[:8], copies.to_numpy()[split])
        np.testing.assert_array_equal(times[8:], included[split, 8:])
        tokens = times @ campaign.n_tokens + (coins[split] * texts["copies"]) @ texts["n_tokens"]
        record = read_record(campaign.layout.losses(split))
        assert record is not None and record.notes["trained_tokens"] == EPOCHS * tokens
        assert len(record.notes["stack"]) == 2


def test_more_copies_are_better_known(root: Path) -> None:
    campaign = memo.open(root)
    table = campaign.copies_scores()
    assert list(table.columns) == list(COLUMNS) and len(table) == 16
    assert (table["n_in"] == 8).all() and (table["n_out"] == 8).all()
    losses, copies = campaign.losses(), campaign.copies().to_numpy()
    row = table[(table["doc_id"] == "t2") & (table["copies"] == 8)].iloc[0]
    by_hand = losses[copies[:, 2] == 0, 2].mean() - losses[copies[:, 2] == 8, 2].mean()
    assert row["memorization"] == pytest.approx(by_hand, abs=1e-5)
    curve = dose_curve_of(table).set_index("copies")
    assert curve.loc[8, "ci_low"] > max(0.1, curve.loc[1, "memorization"])
    reliability = json.loads(campaign.layout.diagnostics.read_text())["rules"]["document"]
    assert reliability["documents_excluded"] == 8  # their scores were made to differ
    plain = campaign.scores().set_index("doc_id").loc["t2"]  # in: one copy or more
    assert (plain["n_in"], plain["n_out"]) == (16, 8)
    assert table[table["doc_id"] == "t2"]["memorization"].mean() == pytest.approx(plain["memorization"], abs=1e-5)


def test_the_command_line_shows_the_curve(root: Path) -> None:
    data = json.loads(command("scores", root, "--copies", "--json").stdout)
    assert [row["copies"] for row in data["curve"]] == [1, 8] and len(data["documents"]) == 16
    said = command("scores", root, "--copies").stdout
    assert "memorization [95 %]" in said and "8/8" in said
    assert command("scores", root, "--copies", "--csv").stdout.splitlines()[0].split(",") == list(COLUMNS)
    result = command("scores", root, "--copies", "--top", "3")
    assert result.returncode == 2 and "--copies: expected it alone" in result.stderr
    assert command("verify", root).returncode == 0


def test_another_list_of_numbers_is_another_campaign(root: Path) -> None:
    config = root.parent / "campaign.yaml"
    result = command("run", config, "--dir", root, "--set", "design.copies.counts=[0, 1, 4]")
    assert result.returncode == 2 and "counts" in result.stderr


def test_a_campaign_without_copies_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    campaign = memo.testing.toy_campaign(tmp_path, rng.random((8, 6)), rng.random((8, 6)) < 0.5)
    with pytest.raises(UsageError, match="expected a design that copies documents, found none"):
        campaign.copies_scores()
