"""Do two banks of models agree on the scores, and does a rung agree with a campaign designed for it alone?

Trains four small campaigns (some minutes on two cores) on one planted corpus. Two ladders with different seeds share
nothing but the corpus and its tokenizer; if the standard errors are right, the squared difference of their scores,
divided by the sum of the squared standard errors, is 1 on average (and df / (df - 2) of the t distribution above it).

A score is a mean over the design's law of everything else. On a ladder other families are often opened, so a split of
the same length holds more different texts than where whole families come and go, and remembers each a little less: with
families as a quarter of the corpus, a family scored 2.3 on the ladder and 2.6 as a unit, and unrelated documents 1.08
and 1.19. The fewer there are, the closer the two designs must come; here families are an eighth of the corpus.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import memo
from memo.config import Source
from subsets.readers import Document, read_source

MODEL = "{model_type: gpt2, n_embd: 48, n_layer: 1, n_head: 4, initializer_range: 0.08}"
SETTINGS = f"""
corpus: {{path: corpus.jsonl, metadata: [planted, planted_group]}}
tokenizer: {{vocab_size: 512}}
rules: [exact, {{name: near, rule: near_duplicate, threshold: 0.5, shingle: 3}}]
model: {MODEL}
training: {{epochs: 6, batch_size: 8, learning_rate: 8e-3}}
"""
PLANTED = {"uuids": 0, "repeated": 0, "texts_per_copies": 1, "families": 6, "quoting": 0, "topic": 0}
SOURCES = (
    {"builtin": "stdlib", "min_chars": 250, "max_chars": 300, "sample": 240},
    {"builtin": "planted", "planted": PLANTED},
)
LADDER = ("design.ladder=[exact, near]", "design.splits=96")


def corpus(folder: Path) -> None:
    sources = [Source.model_validate(source) for source in SOURCES]
    documents = [item for source in sources for item in read_source(source, seed=0) if isinstance(item, Document)]
    lines = [json.dumps({"id": d.doc_id, "text": d.text, **d.metadata}) for d in documents]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "campaign.yaml").write_text(SETTINGS)


def run(folder: Path, name: str, *settings: str) -> memo.Campaign:
    sets = [part for setting in settings for part in ("--set", setting)]
    line = [sys.executable, "-P", "-m", "pipelines.cli", "run", "campaign.yaml", "--dir", name, "--quiet", *sets]
    subprocess.run(line, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return memo.open(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agreement")
    corpus(path)
    return path


@pytest.fixture(scope="module")
def ladder(folder: Path) -> memo.Campaign:
    return run(folder, "ladder", *LADDER)


def standardized(first: pd.DataFrame, second: pd.DataFrame) -> pd.Series:
    """Differences in units of their standard error, one per group (its documents share their models)."""
    both = first.merge(second, on=["doc_id", "group_id"], suffixes=("", "_other"), validate="one_to_one")
    both = both.dropna(subset=["se", "se_other"]).drop_duplicates("group_id")
    return (both["memorization"] - both["memorization_other"]) / np.hypot(both["se"], both["se_other"])


@pytest.mark.benchmark
def test_two_ladders_with_different_seeds_agree(folder: Path, ladder: memo.Campaign) -> None:
    other = run(folder, "other-seed", *LADDER, "seed=1")
    print("\nTwo ladders of 96 splits, seeds 0 and 1: squared standardized difference of the scores")
    squares = []
    for rule in ladder.rules():
        z = standardized(ladder.scores(rule), other.scores(rule))
        squares.append(z**2)
        print(f"  {rule:<10} {len(z):4d} groups   mean {np.mean(z**2):.2f}   mean of the difference {z.mean():+.2f} SE")
    together = np.mean(np.concatenate(squares))
    print(f"  all rungs  mean {together:.2f} (expected between 0.8 and 1.2)")
    assert 0.8 <= together <= 1.2


@pytest.mark.benchmark
def test_a_rung_agrees_with_a_campaign_designed_for_it(folder: Path, ladder: memo.Campaign) -> None:
    by_family = run(folder, "by-family", "design.unit=near", "design.splits=48", "seed=2")
    z = standardized(families(ladder), families(by_family))
    means = [families(c).drop_duplicates("group_id")["memorization"].mean() for c in (ladder, by_family)]
    print(f"\nRung near of the ladder, near as the unit: {len(z)} families, means {means[0]:.2f} and {means[1]:.2f};")
    print(f"  mean squared standardized difference {np.mean(z**2):.2f}, mean {z.mean():+.2f} SE")
    assert np.mean(z**2) < 2.5 and abs(means[0] / means[1] - 1) < 0.1
    by_document = run(folder, "by-document", "design.splits=96", "seed=3")
    first, second = (c.scores_by_siblings("near").set_index("siblings") for c in (ladder, by_document))
    both = first.merge(second, left_index=True, right_index=True, suffixes=("", "_other")).query(
        "groups >= 6 and groups_other >= 6"
    )
    print("Document score by siblings present: ladder, and a campaign with one coin per document")
    for siblings, row in both.iterrows():
        print(
            f"  {siblings} siblings   {row['memorization']:.2f} +- {row['se']:.2f}   "
            f"{row['memorization_other']:.2f} +- {row['se_other']:.2f}"
        )
    z = (both["memorization"] - both["memorization_other"]) / np.hypot(both["se"], both["se_other"])
    print(f"  mean squared standardized difference {np.mean(z**2):.2f}")
    assert np.mean(z**2) < 2.5 and len(z) >= 3


def families(campaign: memo.Campaign) -> pd.DataFrame:
    """Scores of the planted families under the rule near; their groups bear the same labels in every campaign."""
    planted = campaign.documents().query("planted == 'family'")["doc_id"]
    scores = campaign.scores("near")
    return scores[scores["doc_id"].isin(planted)]
