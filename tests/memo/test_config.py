"""The campaign file: what it accepts, and one clear line for what it does not."""

from pathlib import Path
from typing import Any

import pytest

from memo.campaign_file import build, load
from memo.config import CampaignConfig
from memo.errors import UsageError

FULL = """
corpus: {path: data/*.jsonl, text: body, id: key, metadata: [source, year]}
evaluation: {path: held_out.jsonl}
tokenizer: {vocab_size: 512}
rules:
  - exact
  - {name: near70, rule: near_duplicate, threshold: 0.7, shingle: 5}
  - {name: frogs, rule: my_rules.py:frogs}
  - other_rules.py:toads
design: {splits: 32, block: 8, base: bernoulli, include: 0.25, unit: exact}
model: {model_type: llama, hidden_size: 64, num_hidden_layers: 2, rms_norm_eps: 1e-6}
training: {epochs: 5, learning_rate: 1e-3, evaluate_at: [2, 5]}
seed: 3
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    return path


def test_a_full_file_reads_and_its_resolved_form_reads_back_equal(tmp_path: Path) -> None:
    config = load(write(tmp_path, FULL))
    assert config.corpus[0].path == str(tmp_path / "data/*.jsonl")
    assert config.rule("near70").parameters == {"threshold": 0.7, "shingle": 5}
    assert config.rule("frogs").rule == f"{tmp_path / 'my_rules.py'}:frogs"
    assert config.rule("toads").rule == f"{tmp_path / 'other_rules.py'}:toads"
    assert config.training.learning_rate == 1e-3 and config.model["rms_norm_eps"] == 1e-6
    assert config.training.evaluations == (2, 5)
    saved = write(tmp_path, config.to_yaml())
    assert load(saved) == config


def test_the_table_of_the_rule_labels_is_relative_to_the_campaign_file(tmp_path: Path) -> None:
    rules = "corpus: {path: a.jsonl}\nrules: [{name: l, rule: labels, path: t.csv}, {name: x, rule: y, path: t.csv}]"
    config = load(write(tmp_path, rules))
    assert config.rule("l").parameters == {"path": str(tmp_path / "t.csv")}
    assert config.rule("x").parameters == {"path": "t.csv"}


def test_everything_but_the_corpus_has_a_default() -> None:
    config = build({"corpus": {"path": "a.jsonl"}})
    assert config.design.splits == 64 and config.design.block_size == 16 and config.design.blocks == 4


def test_set_overrides_nested_keys_and_items_of_lists(tmp_path: Path) -> None:
    config = load(write(tmp_path, FULL), ["design.splits=64", "training.epochs=7", "rules.1.threshold=0.5"])
    assert (config.design.splits, config.training.epochs) == (64, 7)
    assert config.rule("near70").parameters["threshold"] == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("desing.splits=3", "unknown key 'desing'; did you mean 'design'?"),
        ("design.split=3", "unknown key 'design.split'; did you mean 'splits'?"),
        ("corpus.pth=x", "did you mean 'path'?"),
        ("design.splits=many", "design.splits: expected a whole number, found 'many'"),
        ("design.splits=true", "design.splits"),
        ("design.splits=13", "whole blocks of 8 splits, found 13; use 8 or 16"),
        ("training.epochs='3'", "training.epochs"),
        ("training.learning_rate=fast", "training.learning_rate"),
        ("training.learning_rate=.nan", "training.learning_rate"),
        ("training.evaluate_at=[9]", "expected epochs from 1 to 5, found 9"),
        ("training.batch_size=0", "training.batch_size"),
        ("design.unit=frog", "no rule is named 'frog'; known: document, exact, near70, frogs, toads"),
        ("rules=[exact, exact]", "two rules are named 'exact'"),
        ("rules=[{name: document, rule: exact}]", "two rules are named 'document'"),
        ("rules=[{name: ../x, rule: exact}]", "rules.0.name"),
        ("model.hiden_size=3", "unknown key 'hiden_size' for llama; did you mean 'hidden_size'?"),
        ("model.num_hidden_layers=-1", "num_hidden_layers: expected a whole number of at least 1, found -1"),
        ("model.hidden_size=wide", "hidden_size: expected a whole number of at least 1, found 'wide'"),
        ("model.model_type=lama", "transformers has no 'lama'; did you mean 'llama'?"),
        ("model={name: x, pretrained: yes please}", "pretrained"),
        ("model={n_embd: 3}", "model_type is missing"),
        ("corpus={builtin: stdlib, path: x}", "exactly one of path, hub and builtin, found path and builtin"),
        ("corpus={}", "exactly one of path, hub and builtin, found none"),
        ("corpus=[]", "at least one source"),
        ("cluster.workers=0", "cluster.workers: expected 'auto' or greater than or equal to 1, found 0"),
        ("corpus.path=3", "corpus.0.path: expected text or a list, found 3"),
        ("corpus=3", "corpus: expected a list, found 3"),
        ("seed=-1", "seed"),
        ("design.include=1.5", "design.include"),
        ("nonsense", "expected key.path=value"),
        ("seed.x=1", "has no such key"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load(write(tmp_path, FULL), [override])
    _, named, told = str(error.value).partition(f"--set {override}: ")
    assert named and message in told
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corpus: {path: a", "not valid YAML"),
        ("- a list", "expected a mapping"),
        ("", "expected a mapping"),
        ("corpus: {path: a}\nseed: 1\nseed: 2\n", "'seed' stands twice"),
        ("seed: 1\n", "corpus: required key is missing"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"campaign\.yaml") as error:
        load(write(tmp_path, text))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("design", "block"),
    [
        ({"splits": 64}, 16),
        ({"splits": 48}, 16),
        ({"splits": 8}, 8),
        ({"splits": 12}, 12),
        ({"splits": 24, "include": 0.25}, 12),
        ({"splits": 7, "base": "bernoulli"}, 7),
        ({"splits": 53, "base": "bernoulli"}, 1),  # independent coins: a block is only a file
        *(({"splits": splits}, splits) for splits in (2, 6, 22, 26, 34, 38, 46)),  # one block rather than pairs
        ({"splits": 44}, 22),
        ({"splits": 116}, 4),
        ({"splits": 44, "include": 0.25}, 44),  # in blocks of 4 one split of each is in
        ({"splits": 22, "base": "complement"}, 22),
    ],
)
def test_an_automatic_block_divides_the_splits(design: dict[str, Any], block: int) -> None:
    config: CampaignConfig = build({"corpus": {"path": "a"}, "design": design})
    assert config.design.block_size == block


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ({"splits": 58}, "blocks of at most 48 splits, with 2 or more on either side, found 58; use 56 or 60, or set"),
        ({"splits": 64, "include": 0.3}, "found 64; use 60 or 70"),
        ({"splits": 64, "include": 0.025}, "blocks of at most 80 splits, with 2 or more on either side, found 64"),
        ({"splits": 1}, "found 1; use 2"),
        ({"splits": 64, "include": 0.333}, "include x block to be a whole number"),
        ({"base": "complement", "include": 0.25}, "expected 0.5 with the base complement, found 0.25"),
        ({"base": "complement", "ladder": ["exact"]}, "expected the base balanced, which alone has rungs"),
        ({"base": "complement", "splits": 15, "block": 5}, "0.5 x 5 = 2.5"),
    ],
)
def test_a_design_that_cannot_be_is_refused_with_what_can(design: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        build({"corpus": {"path": "a"}, "rules": ["exact"], "design": design})
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_block_of_one_split_a_side_is_taken_where_it_is_asked_for() -> None:
    config = build({"corpus": {"path": "a"}, "design": {"splits": 58, "block": 2}})
    assert config.design.block_size == 2 and config.design.blocks == 29


def test_a_balanced_block_needs_whole_counts() -> None:
    with pytest.raises(UsageError, match="whole number"):
        build({"corpus": {"path": "a"}, "design": {"splits": 16, "block": 16, "include": 0.3}})
