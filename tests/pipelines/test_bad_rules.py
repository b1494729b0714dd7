"""Rules and sets that are wrong, through the command line: one line each, that says what was expected, found, to do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import memo

RULES = """
import time
import numpy as np
import pandas as pd

def unknown(documents):
    return pd.DataFrame({"doc_id": ["nobody"], "group_id": ["x"]})

def short(documents):
    return documents["text"].iloc[:3]

def nothing(documents):
    return pd.Series(np.nan, index=documents.index)

def nested(documents):
    return pd.Series([["a"]] * len(documents), index=documents.index)

def forever(documents):
    while True:
        time.sleep(0.1)

def pair(documents, number):
    return pd.Series("g", index=documents.index).where(documents["doc_id"].isin(["d0", f"d{number + 1}"]))

def everything(documents):
    return pd.Series("g", index=documents.index)
"""
TEN = ", ".join(f"{{name: s{n}, rule: 'rules.py:pair', number: {n}}}" for n in range(10))


def command(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=cwd)


def error_of(result: "subprocess.CompletedProcess[str]") -> str:
    errors = [line for line in result.stderr.splitlines() if line.startswith("memo: error: ")]
    assert result.returncode == 2 and len(errors) == 1 and "Traceback" not in result.stderr, result.stderr
    return errors[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    texts = (f"document number {n} says something {'a' * 30}" for n in range(40))
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"id": f"d{n}", "text": t}) for n, t in enumerate(texts)))
    (folder / "rules.py").write_text(RULES)
    result = command("ingest", write(folder, "rules: [exact]"), "--dir", folder / "campaign", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert command("group", folder / "campaign", cwd=folder).returncode == 0
    assert command("sample", folder / "campaign", cwd=folder).returncode == 0
    return folder


def write(folder: Path, settings: str) -> Path:
    path = folder / "campaign.yaml"
    base = "corpus: {path: corpus.jsonl, id: id}\ntokenizer: {vocab_size: 300}\ncontrols: {phantoms: 0, canaries: 0}\n"
    path.write_text(base + settings + "\n")
    return path


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("rules.py:unknown", ("ids of documents of the corpus", "1 unknown, for instance 'nobody'", "take them from")),
        ("rules.py:short", ("one label per document (40)", "found 3", "return a DataFrame")),
        ("rules.py:nested", ("one label in each row", "found ['a']", "return a DataFrame")),
        ("{rule: 'rules.py:forever', timeout_s: 1}", ("groups within 1 s", "still at work", "raise its timeout_s")),
        (
            "{name: slow, rule: substring, regex: '(a+)+$!', timeout_s: 1}",
            ("search all documents", "ran out in document 'd0'", "make the pattern simpler"),
        ),
        (
            "{name: none, rule: substring, contains: 'nowhere to be found'}",
            ("found in 0 of 40 documents", "expected at least 2", "check the spelling"),
        ),
        ("{name: exact, rule: near_duplicate}", ("two rules are named 'exact'", "rename one")),
    ],
)
def test_a_wrong_rule_is_one_line(folder: Path, rule: str, said: tuple[str, ...]) -> None:
    error = error_of(command("group", folder / "campaign", "--add", rule, cwd=folder))
    assert all(part in error for part in said), error
    assert memo.open(folder / "campaign").rules() == ["document", "exact"]  # as it was


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("near_duplicates", ("no duplication rule is named 'near_duplicates'", "did you mean 'near_duplicate'")),
        ("other.py:rule", ("no such file", "other.py", "expected path/to/file.py:name")),
        ("{name: topics, rule: labels, path: topics.csv}", ("rule 'labels': path", "expected a file", "topics.csv")),
    ],
)
@pytest.mark.parametrize("stage", ["run", "plan"])
def test_a_rule_that_is_not_there_is_said_before_a_corpus_is_read(
    folder: Path, stage: str, rule: str, said: tuple[str, ...]
) -> None:
    where = ("--dir", folder / "new") if stage == "run" else ()
    result = command(stage, write(folder, f"rules: [exact, {rule}]"), *where, cwd=folder)
    error = error_of(result)
    assert all(part in error for part in said), error
    assert "documents" not in result.stdout and not (folder / "new").exists()


def test_a_rule_that_says_nan_of_every_document_has_no_groups(folder: Path) -> None:
    result = command("group", folder / "campaign", "--add", "rules.py:nothing", cwd=folder)
    assert result.returncode == 0 and "nothing: 0 groups with 0 documents" in result.stdout, result.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "rules: ['rules.py:everything']\ndesign: {knockout: {sets: [everything], size_controls: 0}}",
            ("rule 'everything', set 'g'", "expected at most 0.05 of the tokens of a split, found 2", "max_removed"),
        ),
        (
            f"rules: [{TEN}]\ndesign: {{max_removed: 0.3, knockout: {{sets: "
            f"[{', '.join(f's{n}' for n in range(10))}], size_controls: 0}}}}",
            ("'d0' is in 10 sets, so 64 splits give 1.2", "expected at least 8; use 432 splits", "fewer sets"),
        ),
        (
            "rules: [{name: p, rule: passage, min_tokens: 500}]\ndesign: {knockout: {sets: [p]}}",
            ("expected sets, found none of rule 'p'", "leave it out"),
        ),
    ],
)
def test_sets_that_cannot_be_removed_are_one_line(folder: Path, settings: str, said: tuple[str, ...]) -> None:
    error = error_of(command("plan", write(folder, settings), cwd=folder))
    assert all(part in error for part in said), error
