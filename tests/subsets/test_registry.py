"""Rules are found by name, in packages and in files; what is not found is named."""

import importlib.metadata
from pathlib import Path

import pandas as pd
import pytest

from memo.config import RuleSpec
from memo.errors import RuleError
from memo.rules import Rule, apply
from memo.testing import check_rule, sample_documents
from subsets import registry
from subsets.registry import BUILT_IN, arguments, resolve, source_of, timeout_s

RULES = """
import memo

@memo.rule("frogs")
def frogs(documents, word="frog"):
    return documents["text"].str.contains(word).map({True: word})

def toads(documents):
    return documents["doc_id"]

number = 3
"""


def spec(rule: str, **parameters: object) -> RuleSpec:
    return RuleSpec.model_validate({"name": "r", "rule": rule, **parameters})


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "my rules.py"
    path.write_text(RULES)
    return path


NEEDED = {
    "field": {"column": "source"},
    "keywords": {"words": ["frog"]},
    "substring": {"contains": "frog"},
    "passage": {"min_tokens": 4},
}


@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - {"labels"}))  # which needs a file; it has its own tests
def test_built_in_rules_keep_the_contract(name: str) -> None:
    found = spec(name, **NEEDED.get(name, {}))
    check_rule(resolve(found), parameters=arguments(found, resolve(found)))


def test_exact_copies_are_equal_after_normalization() -> None:
    groups = apply(resolve(spec("exact")), sample_documents()).set_index("doc_id")["group_id"]
    assert groups["toy:0"] == groups["toy:1"] != groups["toy:2"]
    assert groups["toy:3"] == groups["toy:4"]
    texts = ["caf\u00e9 a\n b", " cafe\u0301 a b ", "Caf\u00e9 a b"]
    documents = pd.DataFrame({"doc_id": ["a", "b", "c"], "text": texts, "n_tokens": 1})
    labels = apply(resolve(spec("exact")), documents)["group_id"].tolist()
    assert labels[0] == labels[1] != labels[2]


def test_a_rule_in_a_file_is_found_decorated_or_not(rules_file: Path) -> None:
    found = resolve(spec(f"{rules_file}:frogs", word="lily"))
    assert isinstance(found, Rule) and found.name == "frogs"
    assert len(apply(found, sample_documents(), {"word": "lily"})) == 3
    assert resolve(spec(f"{rules_file}:toads")).name == "toads"


def test_a_rule_in_a_file_is_found_by_the_name_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import memo\n@memo.rule('frogs')\ndef _first(documents): return documents['doc_id']\n")
    assert resolve(spec(f"{path}:frogs")).name == "frogs"
    path.write_text(path.read_text() + "@memo.rule('frogs')\ndef second(documents): return documents['text']\n")
    with pytest.raises(RuleError, match=r"two rules are named 'frogs', _first and second; rename one"):
        resolve(spec(f"{path}:frogs"))


def test_what_a_rule_is_called_with(rules_file: Path) -> None:
    found = spec("substring", contains="frog", timeout_s=5)
    assert arguments(found, resolve(found)) == {"contains": "frog", "name": "r"}
    own = spec(f"{rules_file}:frogs", word="lily", timeout_s=5)
    assert arguments(own, resolve(own)) == {"word": "lily"}
    assert timeout_s(own) == 5 and timeout_s(spec("exact")) is None
    for wrong in (0, -1, "5", True, float("inf")):
        with pytest.raises(RuleError, match="timeout_s: expected seconds, a number above 0"):
            timeout_s(spec("exact", timeout_s=wrong))


def test_files_that_a_rule_reads_are_part_of_what_it_is(tmp_path: Path) -> None:
    words, code = tmp_path / "words.txt", tmp_path / "mine.py"
    words.write_text("frog\n")
    code.write_text("def embed(documents): ...\n")
    specs = [spec("keywords", path=str(words)), spec("semantic", embedding=f"{code}:embed")]
    before = [source_of(each) for each in specs]
    words.write_text("toad\n")
    code.write_text("def embed(documents): return 1\n")
    assert all(len(each) == 64 and each != source_of(found) for each, found in zip(before, specs, strict=True))
    assert source_of(spec("semantic")) == source_of(spec("keywords", words=["frog"])) == "installed"
    words.unlink()
    with pytest.raises(RuleError, match=r"rule 'keywords': path: expected a file, found .*No such file"):
        source_of(specs[0])


def test_an_edited_file_is_another_rule(rules_file: Path) -> None:
    before = source_of(spec(f"{rules_file}:frogs"))
    rules_file.write_text(RULES + "# edited\n")
    assert source_of(spec(f"{rules_file}:frogs")) != before


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("exakt", "did you mean 'exact'? known: exact"),
        ("none.py:x", "no such file none.py"),
        ("{file}:trogs", "rules in it: frogs"),
        ("{file}:number", "expected a function of the documents, found int"),
    ],
)
def test_what_is_not_found_is_one_line(rules_file: Path, rule: str, message: str) -> None:
    with pytest.raises(RuleError) as error:
        resolve(spec(rule.format(file=rules_file)))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def x(:\n")
    with pytest.raises(RuleError, match="does not load: SyntaxError"):
        resolve(spec(f"{path}:x"))


def test_entry_points_are_found_and_double_names_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("mine", "subsets.rules.exact:exact", registry.ENTRY_POINTS)
    points = [point]

    def entry_points(**wanted: str) -> list[importlib.metadata.EntryPoint]:
        return [p for p in points if wanted.get("name", p.name) == p.name]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert resolve(spec("mine")).name == "exact"
    points.append(importlib.metadata.EntryPoint("exact", "elsewhere:exact", registry.ENTRY_POINTS))
    with pytest.raises(RuleError, match="two rules are named 'exact'"):
        resolve(spec("mine"))
