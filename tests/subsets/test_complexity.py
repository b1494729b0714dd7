"""How many bytes a user gave to a rule: counted by hand here."""

from pathlib import Path
from typing import Any

import pytest

from memo.config import RuleSpec
from memo.errors import RuleError
from subsets.complexity import description_bytes


def spec(rule: str, **parameters: Any) -> RuleSpec:
    return RuleSpec.model_validate({"name": "any-name-at-all", "rule": rule, **parameters})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (spec("exact"), 0),
        (spec("substring", contains="In the beginning"), 16),
        (spec("substring", contains="In the beginning", timeout_s=1000), 16),
        (spec("substring", contains="caf\u00e9", ignore_case=True), 5 + 4),
        (spec("near_duplicate", threshold=0.7, shingle=5), 3 + 1),
        (spec("keywords", words=["frog", "toad"], min_matches=12), 8 + 2),
        (spec("field", column="source"), 6),
        (spec("installed_rule", deep={"key": [1, None, "x"]}), 3 + 1 + 4 + 1),
        (spec("installed_rule", path="words.txt"), 9),
    ],
)
def test_literals_and_parameters_are_counted(found: RuleSpec, expected: int) -> None:
    assert description_bytes(found) == expected


def test_the_content_of_a_word_list_or_a_table_counts_and_its_path_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a rather long name of a file.csv"
    path.write_text("doc_id,group_id\na,b\n")
    assert description_bytes(spec("labels", path=str(path), group="group_id")) == 20 + 8
    assert description_bytes(spec("keywords", path=str(path))) == 20
    with pytest.raises(RuleError, match=r"path: expected a file, found nowhere\.txt: No such file"):
        description_bytes(spec("keywords", path="nowhere.txt"))


CODE = '''"""A file of rules."""
import memo

TOPICS = {"frogs": ["frog", "toad"]}    # a comment costs nothing
UNUSED = "x" * 1000
TOPICS["newts"] = ["newt"]
TOPICS.update(efts=["eft"])
OTHERS = []
OTHERS.append("costs nothing")


def helper(text):
    """Says something that costs nothing."""
    return any(word in text for words in TOPICS.values() for word in words)


@memo.rule("frogs")
def anything(documents, least=1):

    return documents["text"].map(helper)


def other(documents):
    return UNUSED
'''
NEEDED = """TOPICS = {'frogs': ['frog', 'toad']}
TOPICS['newts'] = ['newt']
TOPICS.update(efts=['eft'])
def helper(text):
    return any((word in text for words in TOPICS.values() for word in words))
@memo.rule('frogs')
def anything(documents, least=1):
    return documents['text'].map(helper)"""


def test_the_code_of_a_rule_counts_with_what_it_uses_and_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    for name in ("frogs", "anything"):
        assert description_bytes(spec(f"{path}:{name}", least=2)) == len(NEEDED) + 1
    assert description_bytes(spec(f"{path}:other")) == len(
        "UNUSED = 'x' * 1000\ndef other(documents):\n    return UNUSED"
    )
    assert description_bytes(spec("semantic", embedding=f"{path}:helper", clusters=10)) == 2 + len(
        "\n".join(NEEDED.split("\n")[:5])
    )


def test_nothing_is_run_to_count_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("raise SystemExit\ndef x(documents): return 1\n")
    assert description_bytes(spec(f"{path}:x")) == len("def x(documents):\n    return 1")


def test_code_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def x(:\n")
    with pytest.raises(RuleError, match="expected Python, found"):
        description_bytes(spec(f"{path}:x"))
    path.write_text("y = 1\n")
    with pytest.raises(RuleError, match=r"expected mine\.py to define 'x'"):
        description_bytes(spec(f"{path}:x"))
