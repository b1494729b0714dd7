"""Controls, diagnostics and goals of whole campaigns."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import memo
from memo.splits import read_bits

SETTINGS = """
corpus: {path: corpus.jsonl}
evaluation: {path: held_out.txt, document_per: line}
tokenizer: {vocab_size: 300}
context_tokens: 32
controls: {phantoms: 5, canaries: 6}
design: {splits: 8, block: 4}
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, initializer_range: 0.08}
training: {epochs: 12, batch_size: 4, learning_rate: 1e-2}
"""


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    result = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("controls")
    rng = np.random.default_rng(0)
    words = [f"word{index}" for index in range(60)]
    texts = [" ".join(rng.choice(words, size=rng.integers(10, 60))) for _ in range(32)]
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"id": f"t{i}", "text": t}) + "\n" for i, t in enumerate(texts))
    )
    (folder / "held_out.txt").write_text("one held out text\nanother one\n")
    (folder / "campaign.yaml").write_text(SETTINGS)
    run("run", folder / "campaign.yaml", "--dir", folder / "c")
    return folder


def test_evaluation_texts_are_the_first_phantoms(project: Path) -> None:
    texts = memo.open(project / "c").control_texts()
    assert texts["kind"].tolist() == ["phantom"] * 5 + ["canary"] * 6
    assert texts["text"].tolist()[:2] == ["one held out text", "another one"]
    assert texts["column"].tolist() == [32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42]
    assert texts["copies"].tolist() == [0] * 5 + [1, 2, 4, 8, 1, 2]


def test_controls_are_no_documents(project: Path) -> None:
    campaign = memo.open(project / "c")
    assert len(campaign.documents()) == 32 and campaign.losses().shape == (8, 32)
    assert campaign.evaluation_losses().shape == (8, 2)


def test_coins_of_controls_are_balanced_and_their_own(project: Path) -> None:
    campaign = memo.open(project / "c")
    coins = [read_bits(campaign.layout.block(block), "controls") for block in range(2)]
    assert all((block.sum(axis=0) == 2).all() for block in coins)
    assert not np.array_equal(*coins)


def test_canaries_are_trained_on_as_often_as_they_have_copies(project: Path) -> None:
    scores = memo.open(project / "c").controls().set_index("doc_id")
    canaries = scores[scores["kind"] == "canary"]
    assert canaries.loc["canary:0003", "memorization"] > canaries.loc["canary:0000", "memorization"] + 0.1
    by_copies = canaries.groupby("copies")["memorization"].mean()
    assert by_copies[[4, 8]].min() > by_copies[[1]].max()
    phantoms = scores[scores["kind"] == "phantom"]
    assert (phantoms["memorization"].abs() < 4 * phantoms["se"]).all()
    assert canaries.loc["canary:0003", "memorization"] > 3 * canaries.loc["canary:0003", "se"]


def test_diagnostics_are_saved_and_shown(project: Path) -> None:
    found = json.loads((project / "c" / "diagnostics.json").read_text())
    assert found["controls"]["phantoms"]["number"] == 5 and found["models"] == found["of"] == 8
    assert set(found["controls"]["canaries"]["mean_by_copies"]) == {"1", "2", "4", "8"}
    assert found["rules"]["document"]["documents"] == 32 and found["until"] is None
    assert json.loads(run("status", project / "c", "--json").stdout)["diagnostics"] == found
    shown = run("status", project / "c").stdout
    assert (
        "phantoms: 5 texts that no model saw" in shown and "canaries: 6" in shown and "median standard error" in shown
    )


def test_a_small_corpus_gets_few_phantoms_and_no_canaries_unasked(project: Path) -> None:
    run("ingest", project / "campaign.yaml", "--dir", project / "auto", "--set", "controls={}")
    texts = memo.open(project / "auto").control_texts()
    assert texts["kind"].tolist() == ["phantom"] * 8


def test_a_campaign_grows_in_whole_blocks_until_its_goal(project: Path) -> None:
    root = project / "grown"
    goal_free = ("--set", "controls={phantoms: 5, canaries: 0}")
    goal = (*goal_free, "--until-se", "0.001", "--max-splits", "15")
    result = run("run", project / "campaign.yaml", "--dir", root, *goal)
    assert "stopped at 12 splits" in result.stderr and "a goal decided it (se 0.001" in result.stdout
    assert "the goal is not met: document: median standard error" in result.stdout
    assert memo.open(root).config.design.splits == 12
    again = run("run", project / "campaign.yaml", "--dir", root, *goal)
    assert "already complete: 12 models" in again.stdout
    recorded = {"se": 0.001, "max_splits": 15}
    assert json.loads((root / "diagnostics.json").read_text())["until"] == recorded
    # The tables say so as well, and go on saying so when the goal is not named again.
    run("run", project / "campaign.yaml", "--dir", root, *goal_free, "--set", "design.splits=12")
    assert memo.open(root).scores().attrs == {"models": 12, "of": 12, "until": recorded}
    assert memo.open(root).scores(evaluation=0).attrs["until"] == recorded
    for form in ([], ["--csv"], ["--json"]):
        said = run("scores", root, *form).stderr
        assert "not fixed beforehand: a goal decided it (se 0.001, max_splits 15)" in said


def test_a_goal_without_room_and_room_without_a_goal_are_refused(project: Path) -> None:
    for arguments, said in (
        (
            ("--until-se", "0.1", "--max-splits", "4"),
            "expected at least the 8 splits that the campaign begins with, found 4",
        ),
        (("--max-splits", "16"), "--max-splits: expected a goal beside it"),
    ):
        result = run("run", project / "campaign.yaml", "--dir", project / "refused", *arguments, code=2)
        assert said in result.stderr and not (project / "refused").exists()


def test_a_goal_that_is_met_adds_nothing(project: Path) -> None:
    root = project / "c"
    assert "until" not in memo.open(root).scores().attrs and "beforehand" not in run("scores", root).stderr
    result = run("run", project / "campaign.yaml", "--dir", root, "--until-se", "100")
    assert "complete: 8 models" in result.stdout
