"""`memo group`: what the built-in rules find in a campaign, what is said of it, and when it is made anew."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import memo
from memo.store import read_record

QUOTATION = "the frog that sat upon the lily pad was never seen again by anybody of the pond"


def memo_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = [f"document {n} says {n * n} and that {QUOTATION}" for n in range(3)]
    texts += [f"another one, {n}, speaks of toads and of {n + 7} newts" for n in range(9)]
    records = [{"text": text, "site": f"s{n % 2}" if n else None} for n, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "words.txt").write_text("toads\n")
    (tmp_path / "embed.py").write_text("def embed(documents):\n    return [[len(t)] for t in documents['text']]\n")
    return tmp_path


def ingest(folder: Path, rules: str) -> None:
    (folder / "campaign.yaml").write_text(
        "corpus: {path: corpus.jsonl, metadata: [site]}\ntokenizer: {vocab_size: 300}\ndesign: {splits: 4}\n"
        f"rules: [{rules}]\n"
    )
    result = memo_command("ingest", folder / "campaign.yaml", "--dir", folder / "c")
    assert result.returncode == 0, result.stderr


def group(folder: Path) -> list[str]:
    result = memo_command("group", folder / "c")
    assert result.returncode == 0, result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("group: ")]


def test_every_built_in_rule_says_what_it_found(folder: Path) -> None:
    ingest(
        folder,
        "{name: quoted, rule: substring, contains: lily pad}, {name: once, rule: substring, contains: document 2 says},"
        "{name: shared, rule: passage, min_tokens: 6}, {name: site, rule: field, column: site},"
        "{name: toads, rule: keywords, path: words.txt},"
        "{name: lengths, rule: semantic, embedding: 'embed.py:embed', clusters: 2}",
    )
    said = "\n".join(group(folder))
    assert "group: quoted: 1 groups, 1 of two documents or more (largest 3)" in said
    assert "group: once: contains: 'document 2 says' found in 1 of 12 documents; expected at least 2" in said
    assert "group: toads: 1 groups, 1 of two documents or more (largest 9)" in said
    assert "group: site: 1 documents have no label" in said
    assert "group: lengths: 1 groups" in said  # all lie in one direction
    campaign = memo.open(folder / "c")
    assert set(campaign.groups("quoted")["group_id"]) == {"quoted"}
    shared = campaign.groups("shared")
    record = read_record(campaign.layout.groups("shared"))
    assert record is not None and record.notes["rule"]["min_tokens"] == 6
    assert record.notes["in_several_groups"] == (shared["doc_id"].value_counts() > 1).sum()


def test_groups_are_made_anew_when_what_they_are_made_from_changes(folder: Path) -> None:
    ingest(folder, "{name: toads, rule: keywords, path: words.txt}")
    assert "(largest 9)" in "".join(group(folder)) and group(folder) == ["group: 1 of 1 done before"]
    (folder / "words.txt").write_text("newts\nlily pad\n")
    assert "(largest 12)" in "".join(group(folder))
    ingest(folder, "{name: toads, rule: keywords, path: words.txt, timeout_s: 99}")
    assert group(folder) == ["group: 1 of 1 done before"]  # the time decides nothing about the groups
    ingest(folder, "{name: toads, rule: keywords, words: [newts]}")
    assert "(largest 9)" in "".join(group(folder))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{name: r, rule: substring, contains: lilypad}", "contains: 'lilypad' found in 0 of 12 documents"),
        (
            "{name: r, rule: substring, regex: '((w|.)+)+$(?<!.)', timeout_s: 1}",
            "found that the time ran out in document",
        ),
        ("{name: r, rule: field, column: sight}", "found 'sight'; did you mean 'site'?"),
        ("{name: r, rule: 'mine.py:endless', timeout_s: 1}", "found it still at work at"),
    ],
)
def test_a_rule_that_fails_is_one_line(folder: Path, rule: str, message: str) -> None:
    (folder / "mine.py").write_text("def endless(documents):\n    while True:\n        pass\n")
    ingest(folder, rule)
    result = memo_command("group", folder / "c")
    errors = [line for line in result.stderr.splitlines() if line.startswith("memo: error: ")]
    assert result.returncode == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in result.stderr


def test_two_rules_of_one_name_are_refused(folder: Path) -> None:
    path = folder / "campaign.yaml"
    path.write_text("corpus: {path: corpus.jsonl}\nrules: [exact, {name: exact, rule: field, column: site}]\n")
    result = memo_command("ingest", path, "--dir", folder / "c")
    assert result.returncode == 2 and "two rules are named 'exact' (exact); rename one" in result.stderr


def test_a_corpus_without_the_field_of_the_text_says_which_key_names_it(folder: Path) -> None:
    (folder / "campaign.yaml").write_text("corpus: {path: corpus.jsonl, text: body}\n")
    result = memo_command("ingest", folder / "campaign.yaml", "--dir", folder / "c")
    assert result.returncode == 2
    assert "(12 missing text); name the field that holds the text: corpus.text" in result.stderr
