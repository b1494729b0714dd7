"""A ladder through the command line: what it prints, what it refuses, and scores that follow from its own coins."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import memo

SETTINGS = """
corpus: {path: corpus.jsonl}
tokenizer: {vocab_size: 300}
context_tokens: 32
rules:
  - exact
  - {name: near, rule: near_duplicate, threshold: 0.5, shingle: 2}
  - {name: halves, rule: labels, path: halves.csv}
design: {splits: 48, ladder: [exact, near]}
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2}
training: {epochs: 2, batch_size: 4, learning_rate: 5e-3}
"""


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "pipelines.cli", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two families of four (two members of each are exact copies) and eight documents of their own."""
    path = tmp_path_factory.mktemp("ladder")
    rng = np.random.default_rng(0)
    words = [f"word{index}" for index in range(80)]
    records = []
    for family in range(2):
        base = rng.choice(words, size=20)
        for member in range(4):
            text = base.copy()
            text[5] = f"edit{max(member, 1)}"  # members 0 and 1 are copies
            records.append({"id": f"f{family}{member}", "text": " ".join(text)})
    records += [{"id": f"single{n}", "text": " ".join(rng.choice(words, size=20))} for n in range(8)]
    (path / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    labels = [f"{record['id']},half{index % 2}\n" for index, record in enumerate(records[:12])]
    (path / "halves.csv").write_text("doc_id,group_id\n" + "".join(labels))
    (path / "campaign.yaml").write_text(SETTINGS)
    return path


@pytest.fixture(scope="module")
def log(folder: Path) -> str:
    result = command(folder, "run", "campaign.yaml", "--dir", "ladder")
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def campaign(folder: Path, log: str) -> memo.Campaign:
    return memo.open(folder / "ladder")


def test_sampling_says_what_each_rung_can_resolve(log: str) -> None:
    assert "sample: document: 16 documents, at least 8 splits in and 8 out expected" in log
    assert "sample: exact: 2 groups of two documents or more, at least 8 splits in and 8 out" in log
    assert "sample: near: 2 groups of two documents or more, at least 8 splits in and 8 out" in log
    assert "group: halves: 4 documents have no label" in log


def test_each_rung_is_scored_by_its_own_coins(campaign: memo.Campaign) -> None:
    losses, included = campaign.losses().astype(float), campaign.included()
    family = [campaign.doc_ids.index(f"f0{member}") for member in range(4)]
    near = campaign.scores("near").set_index("doc_id").loc["f00"]
    assert (near["group_size"], near["n_in"], near["n_out"]) == (4, 8, 8)
    exact = campaign.scores("exact").set_index("doc_id").loc["f00"]
    assert (exact["group_size"], exact["n_in"], exact["n_out"]) == (2, 8, 8)
    document = campaign.scores("document").set_index("doc_id").loc["f00"]
    assert (document["group_size"], document["n_in"], document["n_out"]) == (1, 8, 8)
    together = included[:, family].all(axis=1), ~included[:, family].any(axis=1)
    # Whole by the family's coin, or by chance when it was opened: the coin's splits are among these.
    assert together[0].sum() >= 8 and together[1].sum() >= 8
    asked, treated = campaign.decisions()
    unit = campaign.units.chain[2, family[0]]
    expected = losses[asked[:, unit] & ~treated[:, unit], family[0]].mean()
    expected -= losses[asked[:, unit] & treated[:, unit], family[0]].mean()
    assert near["memorization"] == pytest.approx(expected, abs=1e-12)
    assert (included[:, family][asked[:, unit]] == treated[asked[:, unit], unit][:, None]).all()


def test_a_document_alone_has_one_score_under_every_rule(campaign: memo.Campaign) -> None:
    rows = [campaign.scores(rule).set_index("doc_id").loc["single3"] for rule in ("document", "exact", "near")]
    assert len({row["memorization"] for row in rows}) == 1
    assert {(row["n_in"], row["n_out"]) for row in rows} == {(24, 24)}


def test_siblings_take_the_document_score_apart(folder: Path, campaign: memo.Campaign) -> None:
    result = command(folder, "scores", "ladder", "--rule", "near", "--siblings", "--json")
    rows = json.loads(result.stdout)
    assert [row["siblings"] for row in rows] == sorted(row["siblings"] for row in rows)
    assert all(0 <= row["siblings"] <= 3 for row in rows)
    # Per family: two copies are decided by their own coins in 16 splits each, two other documents in 32 each.
    assert 100 < sum(row["losses_in"] + row["losses_out"] for row in rows) <= 2 * (2 * 16 + 2 * 32)


def test_a_rule_beside_the_ladder_is_scored_from_its_coins(campaign: memo.Campaign) -> None:
    table = campaign.scores("halves").set_index("doc_id")
    assert set(table["group_id"]) == {"half0", "half1"} and len(table) == 12
    assert table["n_in"].max() <= 48 / 2**3  # six documents, of which at most three coins decide
    record = json.loads((campaign.layout.root / "groups" / "near.parquet.record.json").read_text())
    assert record["notes"]["rule"]["library"].startswith("rensa") and record["notes"]["largest"] == 4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("design.splits=36", "36 splits give the rung 'document' 6 on a side; expected at least 8; use 48"),
        ("design.splits=40", "whole blocks of 12 splits, found 40; use 36 or 48"),
        ("design.block=16", "balanced in blocks of 12 splits and their multiples, found 16"),
        ("design.ladder=[exact, frogs]", "design.ladder: no rule is named 'frogs'"),
        ("design.ladder=[exact, exact]", "every rule once"),
        ("design.unit=exact", "either unit or ladder"),
        ("design.base=bernoulli", "expected the base balanced, which alone has rungs, found bernoulli"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused_in_one_line(folder: Path, setting: str, message: str) -> None:
    settings = [] if setting != "design.block=16" else ["--set", "design.splits=64"]
    result = command(folder, "run", "campaign.yaml", "--dir", "refused", "--set", setting, *settings, "--quiet")
    errors = [line for line in result.stderr.splitlines() if line.startswith("memo: error: ")]
    assert result.returncode == 2 and len(errors) == 1 and message in errors[0], result.stderr


def test_rungs_that_are_not_nested_are_joined_and_said(folder: Path) -> None:
    # half0 and half1 cut both families, so the rung above `exact` joins all twelve documents.
    sets = ["--set", "design.ladder=[exact, halves]"]
    assert command(folder, "ingest", "campaign.yaml", "--dir", "joined", *sets).returncode == 0
    assert command(folder, "group", "joined").returncode == 0
    result = command(folder, "sample", "joined")
    assert "sample: halves: 2 of its groups cut a group of the rung below; they are joined with it" in result.stderr
    joined = memo.open(folder / "joined")
    assert joined.groups("halves").groupby("group_id").size().max() == 12
    assert joined.groups("halves")["group_id"].str.startswith("joined:").sum() == 12


@pytest.mark.parametrize("labels", ["everything", "nothing"])
def test_one_group_that_holds_everything_and_no_group_at_all(folder: Path, labels: str) -> None:
    ids = [json.loads(line)["id"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    rows = [f"{doc_id},{'all' if labels == 'everything' else doc_id}\n" for doc_id in ids]
    (folder / f"{labels}.csv").write_text("doc_id,group_id\n" + "".join(rows))
    rule = f"{{name: given, rule: labels, path: '{folder / labels}.csv'}}"
    sets = ["--set", f"rules=[{rule}]", "--set", "design.ladder=[given]", "--set", "design.splits=36"]
    assert command(folder, "ingest", "campaign.yaml", "--dir", labels, *sets).returncode == 0
    assert command(folder, "group", labels).returncode == 0
    result = command(folder, "sample", labels)
    if labels == "everything":
        assert result.returncode == 2 and "found 16 documents in 1 group of 'given'" in result.stderr
    else:
        assert result.returncode == 0 and "sample: given: no groups of two documents or more" in result.stderr
        assert memo.open(folder / labels).included().sum(axis=0).tolist() == [18] * 16
