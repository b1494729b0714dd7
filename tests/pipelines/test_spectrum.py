"""A campaign that removes sets, from the splits to the verdicts; and a rule that comes when the models are trained."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import memo
from memo.errors import UsageError
from memo.lock import writer
from memo.spectrum import COLUMNS, corpus_spectrum
from memo.spectrum_controls import false_calls
from memo.store import publishing

DOCUMENTS, SPLITS = 60, 96
PASSAGE, TOPIC, ALONE = range(6), range(6, 12), range(12, 36)
GAIN = 2.0  # nats that the documents with the passage lose with all of them


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300)


def good(*arguments: object) -> str:
    result = command(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits as memo draws them, and losses whose truth is known in the place of models.

    Documents with the passage are known from each other: only all of them together matter. The topic does nothing. The
    others are memorized one by one, 24 of them; the rest are not.
    """
    folder = tmp_path_factory.mktemp("spectrum")
    texts = [f"text number {number} of a corpus of many" for number in range(DOCUMENTS)]
    texts[: len(PASSAGE)] = [f"{text} in the beginning" for text in texts[: len(PASSAGE)]]
    lines = [json.dumps({"id": f"d{n}", "text": text, "half": str(n // 2)}) for n, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "rules.py").write_text(
        "import memo\n\n"
        "def one(documents, first, last):\n"
        "    number = documents['doc_id'].str[1:].astype(int)\n"
        "    return documents['doc_id'].where((number >= first) & (number < last)).where(lambda s: s.isna(), 'all')\n\n"
        "@memo.rule('passage')\ndef passage(documents):\n    return one(documents, 0, 6)\n\n"
        "@memo.rule('topic')\ndef topic(documents):\n    return one(documents, 6, 12)\n\n"
        "@memo.rule('halves')\ndef halves(documents):\n    return documents['half']\n"
    )
    (folder / "campaign.yaml").write_text(
        "corpus: {path: corpus.jsonl, id: id, metadata: [half]}\ntokenizer: {vocab_size: 300}\n"
        "rules: [rules.py:passage, rules.py:topic]\n"
        "design: {splits: 96, max_removed: 0.3, knockout: {sets: [passage, topic], size_controls: 3}}\n"
        "controls: {phantoms: 16, canaries: 0}\ntraining: {epochs: 1}\n"
    )
    directory = folder / "campaign"
    good("ingest", folder / "campaign.yaml", "--dir", directory)
    good("group", directory)
    said = command("sample", directory).stderr
    assert "sample: passage: 1 set of" in said and "size control: 3 sets of" in said
    write_losses(memo.open(directory))
    good("aggregate", directory)
    return directory


def write_losses(campaign: memo.Campaign) -> None:
    from safetensors.numpy import save

    from pipelines.workspace import open_workspace

    workspace = open_workspace(campaign.layout.root)
    rng = np.random.default_rng(0)
    included, removed = campaign.included(), campaign.removed()
    texts = DOCUMENTS + len(campaign.control_texts())
    losses = 4.0 + 0.15 * rng.standard_normal((SPLITS, texts)) + 0.05 * rng.standard_normal((SPLITS, 1))
    losses += 3e-4 * (0.5 * campaign.n_tokens.sum() - included @ campaign.n_tokens)[:, None]
    losses[:, list(ALONE)] -= 1.5 * included[:, list(ALONE)]
    sets = campaign.sets().drop_duplicates("set")
    number = sets.loc[sets["rule"] == "passage", "set"].item()
    losses[:, list(PASSAGE)] += GAIN * removed[:, [number]]
    with writer(workspace.layout.lock):
        for split in range(SPLITS):
            loss = losses[None, split].astype(np.float32)
            tensors = {"loss": loss, "n_correct": np.zeros_like(loss)}
            with publishing(workspace.layout.losses(split), workspace.loss_inputs(split)) as path:
                path.write_bytes(save(tensors))


def test_effects_are_those_that_were_planted(root: Path) -> None:
    table = memo.open(root).knockout_scores()
    passage, topic = (table[table["rule"] == rule] for rule in ("passage", "topic"))
    assert len(passage) == len(topic) == 6 and set(table["rule"]) == {"passage", "topic"}
    assert abs(passage["excess"].mean() - GAIN) < 0.15 and abs(passage["rest"].mean() - GAIN) < 0.15
    assert abs(topic["excess"].mean()) < 0.15 and abs(topic["rest"].mean()) < 0.15
    assert (table["excess"] - (table["total"] - table["size"])).abs().max() < 1e-12
    assert (table["n_removed"] == 24).all() and (table["tokens_removed"] == 0).all()
    campaign = memo.open(root)
    places = [campaign.doc_ids.index(doc_id) for doc_id in table["doc_id"]]
    assert table["n_in"].tolist() == campaign.included()[:, places].sum(axis=0).tolist()  # each is in one set alone


def test_verdicts_are_those_of_the_planted_truth(root: Path) -> None:
    entries = memo.open(root).spectrum(margin=0.5)
    assert list(entries.columns) == list(COLUMNS)
    each = entries.drop_duplicates("doc_id").set_index("doc_id")
    assert (each.loc[[f"d{n}" for n in PASSAGE], "verdict_rule"] == "passage").all()
    assert (each.loc[[f"d{n}" for n in ALONE], "verdict_rule"] == "document").mean() >= 0.9
    others = each.drop([f"d{n}" for n in (*PASSAGE, *ALONE)])
    assert (others["verdict"] != "memorized").all() and (others["verdict"] == "generalizes").mean() > 0.9
    assert each["verdict_rule"].isna().equals(each["verdict"] != "memorized")
    base = entries[entries["rule"] == "document"].set_index("doc_id")
    scores = memo.open(root).scores().set_index("doc_id")
    pd.testing.assert_series_equal(base["gap"], scores["memorization"], check_names=False)
    assert (base["ci_low"] <= scores["ci_low"] + 1e-9).all()  # corrected over rules
    summary = corpus_spectrum(entries)
    assert summary["rule"].tolist() == ["document", "passage", "topic"]
    assert summary["memorized"].tolist() == [len(ALONE), len(PASSAGE), 0]
    assert summary.attrs["generalizes"] + summary.attrs["undecided"] == len(others)


def test_phantoms_stand_in_for_documents(root: Path) -> None:
    """Asked as they are and by the same coins, and never called memorized but by chance."""
    campaign = memo.open(root)
    table = campaign.spectrum_controls(margin=0.3)
    assert [*COLUMNS, "stands_for"] == list(table.columns)
    each = table.drop_duplicates("doc_id")
    assert len(each) == 16 == each["stands_for"].nunique()
    assert (each["verdict"] == "generalizes").all()
    in_sets = set(campaign.sets().query("rule != 'size control'")["doc_id"])
    assert in_sets <= set(each["stands_for"])  # those that are asked the most
    entries = campaign.spectrum().set_index(["doc_id", "rule"])
    column = campaign.control_texts().set_index("doc_id")["column"]
    for row in table.itertuples():
        real = entries.loc[(row.stands_for, row.rule)]
        assert (row.n_in, row.n_out, row.removed_share) == (real["n_in"], real["n_out"], real["removed_share"])
    row = table[(table["rule"] == "document") & (table["stands_for"] == "d0")].iloc[0]
    losses = campaign.columns("loss", range(SPLITS), -1, np.array([column[row["doc_id"]]]))[:, 0]
    asked, treated = (bits[:, campaign.units.chain[0, 0]] for bits in campaign.decisions())
    assert row["gap"] == pytest.approx(losses[asked & ~treated].mean() - losses[asked & treated].mean(), abs=0.02)
    calls = false_calls(campaign, margin=0.3)
    assert (calls.phantoms, calls.memorized, calls.expected) == (16, 0, pytest.approx(0.8))
    assert calls.memorized_at_zero <= 3


def test_the_command_line_shows_it(root: Path) -> None:
    data = json.loads(good("spectrum", root, "--json"))
    assert data["controls"]["phantoms"] == 16 and data["controls"]["memorized"] == 0
    assert "phantoms in the place of documents: 0 of 16 called memorized" in good("spectrum", root)
    assert data["verdicts"]["memorized"] == len(ALONE) + len(PASSAGE) and len(data["rules"]) == 3
    assert "0 documents memorized, 60 generalize" in good("spectrum", root, "--margin", "50")
    said = good("spectrum", root, "--doc", "d0")
    assert "verdict: memorized at rule passage" in said
    assert good("spectrum", root, "--csv").splitlines()[0].split(",") == list(COLUMNS)
    result = command("spectrum", root, "--doc", "nobody")
    assert result.returncode == 2 and "no document has the id 'nobody'" in result.stderr


def test_base_scores_leave_out_what_was_removed(root: Path) -> None:
    campaign = memo.open(root)
    asked, _ = campaign.decisions()
    units = campaign.units.chain[0]
    sets = campaign.sets()
    for doc_id, rows in sets.groupby("doc_id"):
        place = campaign.doc_ids.index(str(doc_id))
        gone = campaign.removed()[:, rows["set"].to_numpy()].any(axis=1)
        np.testing.assert_array_equal(asked[:, units[place]], ~gone)
        score = campaign.scores().set_index("doc_id").loc[str(doc_id)]
        assert score["n_in"] + score["n_out"] == SPLITS - gone.sum()
    # A set's own rule has next to no plain score, whole in or out by the documents' coins, and says where its own is.
    topic = campaign.scores("topic")
    assert topic["se"].isna().all() and topic["reason"].str.startswith("removed whole by a coin of its own, see").all()


def test_a_campaign_without_sets_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    campaign = memo.testing.toy_campaign(tmp_path, rng.random((8, 6)), rng.random((8, 6)) < 0.5)
    with pytest.raises(UsageError, match="expected a design that removes sets, found none"):
        campaign.knockout_scores()
    assert set(campaign.spectrum()["rule"]) == {"document"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("rules.py:halves", "two rules are named"),
        ("nothing", "no duplication rule is named 'nothing'"),
        ("[1, 2]", "--add: expected a rule such as my_rules.py:frogs"),
    ],
)
def test_a_rule_is_added_and_scored_from_the_splits_at_hand(
    rule: str, said: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    directory = Path(shutil.copytree(root, tmp_path / "campaign"))
    monkeypatch.chdir(root.parent)
    before = {path: path.stat().st_mtime_ns for path in (directory / "losses").iterdir()}
    found: dict[str, Any] = json.loads(good("group", directory, "--add", "rules.py:halves", "--json"))
    assert (found["rule"], found["groups"], found["documents"], found["splits"]) == ("halves", 30, 60, SPLITS)
    campaign = memo.open(directory)
    included = campaign.included()[:, 40:60].reshape(SPLITS, 10, 2)  # documents of no set
    scores = campaign.scores("halves").drop_duplicates("group_id").set_index("group_id")
    for pair in range(10):
        score = scores.loc[str(20 + pair)]
        both, neither = included[:, pair].all(axis=1), ~included[:, pair].any(axis=1)
        controls = campaign.sets()["doc_id"].isin([f"d{40 + 2 * pair}", f"d{41 + 2 * pair}"]).any()
        if not controls:
            assert (score["n_in"], score["n_out"]) == (both.sum(), neither.sum())
    assert {path: path.stat().st_mtime_ns for path in (directory / "losses").iterdir()} == before
    result = command("group", directory, "--add", rule)
    assert result.returncode == 2 and said in result.stderr
    result = command("ingest", root.parent / "campaign.yaml", "--dir", directory)
    assert result.returncode == 0 and "no longer among the rules of this campaign: halves;" in result.stderr


def test_the_report_has_what_the_removal_of_a_set_does(root: Path, tmp_path: Path) -> None:
    import base64
    import re
    import zlib

    good("report", root, "--out", tmp_path / "report.html")
    found = re.search(r'id="table-data">"([^"]*)"', (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert found is not None
    rules = {rule["name"]: rule for rule in json.loads(zlib.decompress(base64.b64decode(found[1])))["rules"]}
    assert {name: rule["measure"] for name, rule in rules.items()} == {
        "document": "memorization",
        "passage": "excess",
        "topic": "excess",
    }
    table = memo.open(root).knockout_scores()
    table = table[table["rule"] == "passage"]
    shown = rules["passage"]
    assert shown["document"] is None or len(shown["document"]) == len(PASSAGE)
    for column, name in (("memorization", "excess"), ("ci_low", "excess_ci_low"), ("ci_high", "excess_ci_high")):
        np.testing.assert_allclose(np.array(shown[column]) / 10_000, table[name], atol=0.00006)
    assert shown["n_out"] == table["n_removed"].tolist() and shown["group_size"] == [len(PASSAGE)] * len(PASSAGE)
