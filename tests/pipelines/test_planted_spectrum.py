"""A campaign of trained models on texts whose truth is known: which rule shows what is memorized, and which shows none.

quote   30 words that stand in 12 otherwise different texts: lost with all of them alone
topic   12 texts put together from phrases that stand nowhere else: the same
null    8 ordinary texts with one word in common: nothing is lost that does not stand in the others as well
copies  6 texts, each 5 times: lost with all of its copies
alone   12 texts, each of a word of its own: lost with the text itself
plain   110 ordinary texts: what they say is said in the others as well
"""

import json

import numpy as np
import pandas as pd
import pytest

import memo
from memo.campaign_file import load
from memo.spectrum_controls import false_calls
from pipelines.progress import Reporter
from pipelines.stages import run_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SUBJECTS, VERBS, PLACES = ("dog", "cat", "bird", "child"), ("sees", "likes", "wants"), ("house", "tree", "river")
SETTINGS = """
corpus: {path: corpus.jsonl, id: id, metadata: [kind, shelf]}
tokenizer: {vocab_size: 400}
rules:
  - exact
  - {name: quote, rule: substring, contains: PASSAGE}
  - {name: topic, rule: keywords, words: [lighthouse]}
  - {name: nothing, rule: field, column: shelf}
design:
  splits: 96
  ladder: [exact]
  knockout: {sets: [quote, topic, nothing], size_controls: 4}
  max_removed: 0.4
model: {model_type: gpt2, n_embd: 48, n_layer: 1, n_head: 4, initializer_range: 0.08}
training: {epochs: 3, batch_size: 8, learning_rate: 8.0e-3}
"""


def word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("bcdfgklmnprstvz")) + rng.choice(list("aeiou")) for _ in range(3))


def words(rng: np.random.Generator, number: int) -> str:
    return " ".join(word(rng) for _ in range(number))


def ordinary(rng: np.random.Generator, number: int) -> str:
    said = ((rng.choice(SUBJECTS), rng.choice(VERBS), rng.choice(PLACES)) for _ in range(number))
    return " ".join(f"the {subject} {verb} the {place}." for subject, verb, place in said)


def texts() -> tuple[list[tuple[str, str]], str]:
    """Kind and text of every document, and the passage."""
    rng = np.random.default_rng(0)
    passage = words(rng, 30)
    phrases = [f"the lighthouse {words(rng, 4)}." for _ in range(6)]
    rows = [("quote", f"{ordinary(rng, 2)} {passage} {ordinary(rng, 2)}") for _ in range(12)]
    rows += [("topic", " ".join(rng.permutation(phrases)[:5])) for _ in range(12)]
    rows += [("null", ordinary(rng, 9)) for _ in range(8)]
    rows += [("copies", text) for text in [words(rng, 15) for _ in range(6)] for _ in range(5)]
    rows += [("alone", " ".join([word(rng)] * 25)) for _ in range(12)]
    rows += [("plain", ordinary(rng, 9)) for _ in range(110)]
    return rows, passage


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> memo.Campaign:
    folder = tmp_path_factory.mktemp("planted")
    rows, passage = texts()
    shelf = {"null": {"shelf": "upper"}}
    lines = (
        json.dumps({"id": f"{kind}:{n}", "text": text, "kind": kind, **shelf.get(kind, {})})
        for n, (kind, text) in enumerate(rows)
    )
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "campaign.yaml").write_text(SETTINGS.replace("PASSAGE", json.dumps(passage)))
    run_config(load(folder / "campaign.yaml"), folder / "campaign", Reporter(quiet=True))
    return memo.open(folder / "campaign")


@pytest.fixture(scope="module")
def entries(campaign: memo.Campaign) -> pd.DataFrame:
    return campaign.spectrum(margin=0.5).merge(campaign.documents()[["doc_id", "kind"]], on="doc_id")


def test_each_set_is_recovered_by_its_rule_and_not_by_the_document(entries: pd.DataFrame) -> None:
    gaps = entries.groupby(["kind", "rule"])["gap"].mean()
    for kind, rule in (("quote", "quote"), ("topic", "topic"), ("copies", "exact")):
        assert gaps[kind, rule] > 0.7 and gaps[kind, "document"] < 0.3, kind
    assert gaps["alone", "document"] > 1.0
    assert abs(gaps["null", "nothing"]) < 0.25 and abs(gaps["plain", "document"]) < 0.2
    rest = entries.groupby("rule")["rest"].mean()
    assert rest["quote"] > 0.5 and rest["topic"] > 0.5 and abs(rest["nothing"]) < 0.25


def test_verdicts_are_those_of_the_planted_truth(entries: pd.DataFrame) -> None:
    each = entries.drop_duplicates("doc_id").set_index("doc_id")
    truth = each["kind"].map({"quote": "quote", "topic": "topic", "copies": "exact", "alone": "document"})
    found = each["verdict_rule"].where(each["verdict"] == "memorized", each["verdict"])
    agree = found == truth.fillna("generalizes")
    print(
        f"\nagree with the planted truth: {agree.sum()} of {len(agree)}",
        agree.groupby(each["kind"]).mean().round(2).to_dict(),
    )
    assert agree.mean() >= 0.9
    assert (agree.groupby(each["kind"]).mean() >= 0.75).all()
    assert (each["verdict_rule"] != "nothing").all()
    assert (each.loc[each["kind"].isin(["null", "plain"]), "verdict"] != "memorized").all()


def test_phantoms_are_not_called_memorized(campaign: memo.Campaign) -> None:
    table = campaign.spectrum_controls(margin=0.5)
    assert table["doc_id"].nunique() >= 24 and table["rule"].nunique() == 5
    assert table["stands_for"].isin(campaign.doc_ids).all()
    calls = false_calls(campaign, margin=0.5)
    print(f"\n{calls}")
    assert calls.memorized == 0
    assert calls.memorized_at_zero <= calls.expected + 2 * np.sqrt(calls.expected)


def test_a_passage_is_found_without_being_named(campaign: memo.Campaign) -> None:
    """The automatic rule, added when the models are trained, finds the quoting texts as a group of their own."""
    from subsets.rules.passage import passage

    documents = campaign.documents()
    groups = passage(documents, min_tokens=15)
    quoting = set(documents.loc[documents["kind"] == "quote", "doc_id"])
    assert quoting in [set(part) for _, part in groups.groupby("group_id")["doc_id"]]
