"""`memo plan`: what it says without models, and what it predicts from a pilot, held against a finished campaign."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memo
from memo.campaign_file import load
from memo.errors import MemoError, UsageError
from memo.layout import Layout
from memo.store import publishing, read_record
from pipelines.plan import plan
from pipelines.progress import Reporter
from pipelines.stages import run_config, run_stage
from pipelines.status import saved_diagnostics
from pipelines.workspace import open_workspace

QUIET = Reporter(quiet=True)
DOCUMENTS = 60
SETTINGS = """
corpus: {path: corpus.jsonl}
tokenizer: {vocab_size: 300}
context_tokens: 32
rules: [exact]
controls: {phantoms: 4, canaries: 0}
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2}
training: {epochs: 3, evaluate_at: [1]}
"""


def memo_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def campaign_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 documents, 20 of them copies in pairs."""
    folder = tmp_path_factory.mktemp("plan")
    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{w}" for w in rng.integers(0, 40, 12)) for _ in range(DOCUMENTS)]
    texts[1:20:2] = texts[0:20:2]
    lines = (json.dumps({"id": f"t{i}", "text": text}) + "\n" for i, text in enumerate(texts))
    (folder / "corpus.jsonl").write_text("".join(lines))
    (folder / "campaign.yaml").write_text(SETTINGS)
    return folder / "campaign.yaml"


def simulated(campaign_file: Path, root: Path, *settings: str, seed: int, seconds: float = 0.5) -> memo.Campaign:
    """A campaign whose coins are real and whose losses are simulated: a third of the variance is composition."""
    overrides = [*settings, f"seed={seed}"]
    run_config(load(campaign_file, overrides), root, QUIET, stages=("ingest", "group", "sample"))
    workspace, campaign = open_workspace(root), memo.open(root)
    included = campaign.included()
    world = np.random.default_rng(7)  # the same for all campaigns of the corpus
    weights = world.normal(size=(DOCUMENTS, DOCUMENTS)) * np.sqrt(4 / 3 / DOCUMENTS)
    np.fill_diagonal(weights, 0.0)
    noise, effect = 0.24 * world.lognormal(0, 0.4, DOCUMENTS), world.exponential(0.4, DOCUMENTS)
    rng = np.random.default_rng(seed)
    training = np.sqrt(2 / 3) * rng.normal(size=included.shape)
    losses = 5 - effect * included + noise * ((included - 0.5) @ weights + training)
    others = 5 + rng.normal(0, 0.1, (len(losses), 4))
    from safetensors.numpy import save_file

    for split, row in enumerate(np.concatenate([losses, others], axis=1).astype(np.float32)):
        notes = {"seconds": seconds, "trained_tokens": 6000}
        with publishing(campaign.layout.losses(split), workspace.loss_inputs(split), notes) as path:
            save_file({"loss": np.stack([row, row]), "n_correct": np.zeros((2, len(row)), dtype=np.float32)}, path)
    return campaign


def planned(campaign_file: Path, *settings: str, root: Path | None = None, pilot: Path | None = None) -> dict[str, Any]:
    return plan(load(campaign_file, settings), campaign_file, root, pilot, QUIET)


def test_without_models_it_says_what_it_costs_and_what_is_missing(campaign_file: Path, tmp_path: Path) -> None:
    root, temporary = tmp_path / "c", tmp_path / "temporary"
    temporary.mkdir()
    line = [sys.executable, "-P", "-m", "pipelines.cli", "plan", str(campaign_file), "--dir", str(root), "--json"]
    environment = {"TMPDIR": str(temporary), "PATH": ""}
    result = subprocess.run(line, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert not root.exists() and not list(temporary.glob("memo-plan*"))
    assert data["documents"] == DOCUMENTS and data["splits"] == 64 and data["block"] == 16
    assert data["tokens_per_split"] == round(data["tokens"] / 2)
    assert data["trained_tokens"] == pytest.approx(data["tokens"] / 2 * 3 * 64, abs=3 * 64)
    (rung,) = data["rungs"]
    assert rung["splits_in"] == rung["splits_out"] == {"least": 32, "median": 32, "most": 32}
    assert rung["predicted"] is None and data["pilot"] is None and data["time"] is None
    assert f"memo run {campaign_file} --dir {root} --set design.splits=16, then memo plan" in data["not_known"]
    words = memo_command("plan", campaign_file, "--quiet").stdout
    assert "60 documents" in words and "32 splits in and 32 out expected" in words and "not known before" in words


def test_disk_and_parameters_are_what_a_campaign_takes(campaign_file: Path, tmp_path: Path) -> None:
    settings = ("design.splits=4", "training.epochs=1", "training.evaluate_at=[]", "training.keep_weights=true")
    told = planned(campaign_file, *settings, "training.keep_token_losses=all")
    root = tmp_path / "c"
    sets = [part for value in (*settings, "training.keep_token_losses=all") for part in ("--set", value)]
    assert memo_command("run", campaign_file, "--dir", root, *sets).returncode == 0
    layout = Layout(root)

    def size(*paths: Path) -> int:
        return sum(path.stat().st_size for path in paths)

    found = {
        "losses": size(*(layout.losses(split) for split in range(4))),
        "inclusion": size(layout.block(0)),
        "token_losses": size(*(layout.token_losses(split) for split in range(4))),
        "weights": size(*(layout.weights(split) / "model.safetensors" for split in range(4))),
    }
    headers = {"losses": 4 * 400, "inclusion": 600, "token_losses": 4 * 1000, "weights": 4 * 4000}
    for kind, expected in told["disk_bytes"].items():
        if kind in found:
            assert 0 < expected <= found[kind] < expected + headers[kind], kind
    again = planned(campaign_file, *settings, "training.keep_token_losses=all", root=root)
    assert again["splits_trained"] == 4 and again["disk_bytes"] == told["disk_bytes"]
    assert again["not_known"].endswith("this campaign is no larger than a pilot")


@pytest.mark.parametrize(
    ("design", "pilot_splits", "splits"),
    [(("design.base=balanced",), 8, 64), (("design.base=complement",), 8, 64), (("design.ladder=[exact]",), 48, 96)],
    ids=["balanced", "complement", "ladder"],
)
def test_a_pilot_predicts_a_larger_campaign(
    campaign_file: Path, tmp_path: Path, design: tuple[str, ...], pilot_splits: int, splits: int
) -> None:
    simulated(campaign_file, tmp_path / "pilot", *design, f"design.splits={pilot_splits}", seed=1)
    finished = simulated(campaign_file, tmp_path / "finished", *design, f"design.splits={splits}", seed=2)
    run_stage("aggregate", tmp_path / "finished", QUIET)
    diagnostics = saved_diagnostics(open_workspace(tmp_path / "finished"))
    assert diagnostics is not None
    told = planned(campaign_file, *design, f"design.splits={splits}", pilot=tmp_path / "pilot")
    assert told["pilot"]["splits"] == pilot_splits and told["pilot"]["differs"] == []
    for rung in told["rungs"]:
        table = finished.scores(rung["rule"])
        table = table[(table["group_size"] > 1) | (rung["rule"] == "document")]
        assert len(table) == rung["documents"]
        assert table["n_in"].median() == pytest.approx(rung["splits_in"]["median"])
        found = rung["predicted"]
        assert found["se"] == pytest.approx(np.sqrt((table["se"] ** 2).mean()), rel=0.2)
        assert found["median_se"] == pytest.approx(table["se"].median(), rel=0.2)
        if rung["rule"] == "document":
            saved = diagnostics["rules"]["document"]
            assert found["gap"] == pytest.approx(saved["resolvable_gap"], rel=0.2)
            assert found["reliability"] == pytest.approx(saved["reliability"], abs=0.1)
            wanted, block = found["splits_for_se"]["splits"], told["block"]
            assert wanted % block == 0
            scaled = found["median_se"] * np.sqrt(splits / np.array([wanted, wanted - block]))
            assert scaled[0] <= 0.0501 and (wanted == block or scaled[1] >= 0.0499)


def test_a_directory_with_enough_splits_is_its_own_pilot(campaign_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    simulated(campaign_file, root, "design.splits=8", seed=1, seconds=600.0)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    told = planned(campaign_file, "design.splits=32", "seed=1", root=root)
    assert told["splits_trained"] == 8 and told["block"] == 8 and told["pilot"]["campaign"] == str(root)
    # Eight models, 600 s each and at the same time: 48,000 tokens in ten minutes, with seconds in the time of writing.
    assert told["time"]["tokens_per_s"] == pytest.approx(80, rel=0.02) and told["time"]["splits"] == 24
    assert told["time"]["seconds"] == pytest.approx(24 * told["tokens_per_split"] * 3 / 80, rel=0.02)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    words = memo_command("plan", campaign_file, "--dir", root, "--set", "design.splits=32", "--set", "seed=1").stdout
    assert "expected, from the noise of 8 splits" in words and "0.05 takes" in words and "80 tokens per second" in words


def test_what_a_pilot_cannot_tell_is_said(campaign_file: Path, tmp_path: Path) -> None:
    pilot = tmp_path / "pilot"
    simulated(campaign_file, pilot, "design.splits=16", seed=1)
    settings = ("rules=[{name: same, rule: exact}]", "design.ladder=[same]", "training.epochs=5", "model.n_embd=32")
    told = planned(campaign_file, *settings, pilot=pilot)
    assert told["rungs"][1]["predicted"] is None
    assert told["rungs"][1]["reason"] == "the pilot has no rule same; take one with the same design"
    assert set(told["pilot"]["differs"]) == {"model.n_embd", "training.epochs", "design.ladder"}
    simulated(campaign_file, tmp_path / "few", "design.splits=4", seed=1)
    with pytest.raises(UsageError, match="at least 8 trained splits, found 4"):
        planned(campaign_file, pilot=tmp_path / "few")
    with pytest.raises(UsageError, match="expected a campaign directory"):
        planned(campaign_file, pilot=tmp_path / "none")
    with pytest.raises(UsageError, match="expected at least 8; use 36 splits"):
        planned(campaign_file, "design.ladder=[exact]", "design.splits=24", "design.block=12")
    with pytest.raises(UsageError, match=r"training.epochs: the campaign has 3, now asked for 5"):
        planned(campaign_file, "seed=1", "design.splits=16", "training.epochs=5", root=pilot)


def test_a_pilot_with_a_loss_that_is_none_is_refused(campaign_file: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    pilot = tmp_path / "pilot"
    simulated(campaign_file, pilot, "design.splits=8", seed=1)
    path = Layout(pilot).losses(3)
    tensors, record = load_file(path), read_record(path)
    assert record is not None
    tensors["loss"][-1, 5] = np.nan
    with publishing(path, record.inputs) as temporary:
        save_file(tensors, temporary)
    with pytest.raises(MemoError, match=r"losses\[3, 5\]: expected a finite number .* memo verify"):
        planned(campaign_file, pilot=pilot)


def test_cells_of_sets_and_copies_are_planned(campaign_file: Path, tmp_path: Path) -> None:
    """Expected splits of every cell, as the splits then have them; standard errors from a pilot's noise."""
    settings = (
        "rules=[exact, {name: few, rule: keywords, words: [word1]}]",
        "design={splits: 80, max_removed: 0.9, include: 0.5, knockout: {sets: [few], size_controls: 2}, "
        "copies: {sample: 4}}",
    )
    found = planned(campaign_file, *settings)
    few, controls, copies = found["cells"]
    assert (few["rule"], few["sets"], controls["rule"], copies["kind"]) == ("few", 1, "size control", "copies")
    assert (copies["documents"], copies["splits_in"]["least"], copies["median_se"]) == (4, 16, None)
    assert few["splits_removed"]["median"] == 20 and few["splits_in"] == few["splits_out"]
    campaign = simulated(campaign_file, tmp_path / "campaign", *settings, seed=0)
    sets, removed, included = campaign.sets(), campaign.removed(), campaign.included()
    doc_id, number = sets[sets["rule"] == "few"][["doc_id", "set"]].iloc[0]
    place = campaign.doc_ids.index(doc_id)
    kept = ~removed[:, sets.loc[(sets["doc_id"] == doc_id) & (sets["set"] != number), "set"]].any(axis=1)
    assert (kept & removed[:, number]).sum() == pytest.approx(few["splits_removed"]["median"], abs=5)
    assert (kept & ~removed[:, number] & included[:, place]).sum() == pytest.approx(few["splits_in"]["median"], abs=8)
    times = included.astype(float)
    times[:, [campaign.doc_ids.index(name) for name in campaign.copies().columns]] = campaign.copies()
    assert found["tokens_per_split"] == pytest.approx((times @ campaign.n_tokens).mean(), rel=0.05)
    again = planned(campaign_file, *settings, pilot=tmp_path / "campaign")["cells"]
    noise = again[2]["median_se"] / np.sqrt(2 / 16)
    assert 0.15 < noise < 0.4 and again[1]["median_se"] is None
    assert again[0]["median_se"] == pytest.approx(
        noise * np.sqrt(1 / 20 + 1 / again[0]["splits_in"]["median"]), rel=0.1
    )
    assert again[0]["median_se"] == pytest.approx(campaign.knockout_scores()["total_se"].median(), rel=0.35)
    assert again[2]["median_se"] == pytest.approx(campaign.copies_scores()["se"].median(), rel=0.35)


def test_a_pilot_is_large_enough_for_the_sets(campaign_file: Path) -> None:
    settings = ("rules=[{name: few, rule: keywords, words: [word1]}]", "design.max_removed=0.9")
    found = planned(campaign_file, *settings, "design.knockout={sets: [few], size_controls: 0}")
    assert "train 32 first" in found["not_known"]  # 0.25 x 32 splits without the set
    found = planned(campaign_file, "design={splits: 80, max_removed: 0.9, copies: {sample: 4}}")
    assert "train 40 first" in found["not_known"]
