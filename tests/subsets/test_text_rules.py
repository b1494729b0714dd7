"""Rules that make groups by what stands in a text or beside it: substring, keywords, field."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from memo.errors import RuleError
from memo.limits import OutOfTime, time_limit
from memo.rules import apply
from memo.testing import check_rule, sample_documents
from subsets.rules.field import field
from subsets.rules.keywords import keywords
from subsets.rules.substring import substring

CATASTROPHE = "(a+)+$"  # every way to cut a run of a's is tried


def documents(*texts: str, **columns: list[Any]) -> pd.DataFrame:
    ids = [f"d{index}" for index in range(len(texts))]
    return pd.DataFrame({"doc_id": ids, "text": list(texts), "n_tokens": 1, **columns})


def found(rule: Any, texts: tuple[str, ...], **parameters: Any) -> list[int]:
    groups = check_rule(rule, documents(*texts), parameters)
    assert groups["group_id"].nunique() <= 1
    return [int(doc_id[1:]) for doc_id in groups["doc_id"]]


def refusal(rule: Any, texts: tuple[str, ...], **parameters: Any) -> str:
    with pytest.raises(RuleError) as error:
        apply(rule, documents(*texts), parameters)
    assert "\n" not in str(error.value)
    return str(error.value)


TEXTS = (
    "In the beginning God created",
    "IN THE\n  beginning was the Word",
    "in thebeginning",
    "so, In the beginnings",
    "caf\u00e9",
    "cafe\u0301 stra\u00dfe",
    "STRASSE",
)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"contains": "In the beginning"}, [0, 3]),
        ({"contains": "In  the\nbeginning"}, [0, 3]),
        ({"contains": "in the beginning", "ignore_case": True}, [0, 1, 3]),
        ({"contains": "IN THE\n  beginning", "normalize": False}, [1]),
        ({"contains": "cafe\u0301"}, [4, 5]),
        ({"contains": "cafe\u0301", "normalize": False}, [5]),
        ({"contains": "Stra\u00dfe", "ignore_case": True}, [5, 6]),
        ({"regex": r"beginning\b", "ignore_case": True}, [0, 1, 2]),
        ({"regex": r"(?i)^in the"}, [0, 1, 2]),
    ],
)
def test_a_passage_is_found_in_the_form_that_is_asked_for(parameters: dict[str, Any], expected: list[int]) -> None:
    assert found(substring, TEXTS, **parameters) == expected


def test_the_group_bears_the_name_of_the_rule_and_says_how_many() -> None:
    labels = substring(documents(*TEXTS), contains="In the", name="genesis")
    assert set(labels.dropna()) == {"genesis"}
    assert labels.attrs["notes"] == {"documents": 7, "found_in": 2, "giants": []}
    many = substring(documents(*["frog"] * 12, *["toad"] * 12), contains="frog", name="frogs")
    assert many.attrs["notes"]["giants"] == [{"group_id": "frogs", "documents": 12, "share": 0.5}]


def test_a_passage_found_nowhere_is_refused_and_one_found_once_is_noticed() -> None:
    assert refusal(substring, TEXTS, contains="In the begining", name="genesis") == (
        "rule 'genesis': contains: 'In the begining' found in 0 of 7 documents; expected at least 2; "
        "check the spelling, set ignore_case: true, or look for a shorter part of it"
    )
    notes = substring(documents(*TEXTS), contains="STRASSE").attrs["notes"]
    assert notes["found_in"] == 1
    assert "found in 1 of 7 documents; expected at least 2" in notes["notice"] and "'d6'" in notes["notice"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "expected exactly one of contains and regex, found neither"),
        ({"contains": "a", "regex": "b"}, "found contains and regex"),
        ({"contains": 3}, "contains: expected text, found 3; put it in quotes"),
        ({"contains": " \n"}, "expected a text to look for"),
        ({"regex": "(a"}, "expected a regular expression of Python's re, found '(a': missing )"),
        ({"regex": "a{9999999999999}"}, "expected a regular expression of Python's re"),
        ({"contains": "a", "ignore_case": "yes"}, "ignore_case: expected true or false, found 'yes'"),
    ],
)
def test_a_wrong_parameter_of_substring_is_one_line(parameters: dict[str, Any], message: str) -> None:
    assert message in refusal(substring, TEXTS, **parameters)


def test_a_pattern_without_end_is_stopped_and_the_document_named() -> None:
    texts = documents("short", "a" * 40 + "b", "never reached")
    with pytest.raises(RuleError) as error, time_limit(0.3):
        substring(texts, regex=CATASTROPHE)
    assert "time ran out in document 'd1' after 1 of 3" in str(error.value) and "raise timeout_s" in str(error.value)


def test_a_time_limit_leaves_an_earlier_alarm_as_it_was() -> None:
    with time_limit(0.4):
        with time_limit(60):
            pass
        with time_limit(None):
            pass
        with pytest.raises(OutOfTime), time_limit(0.05):
            while True:
                pass
        with pytest.raises(OutOfTime):
            while True:
                pass


FROGS = ("A frog sat.", "Frogs sat.", "leapfrog", "frog, FROG", "the lily - pad", "lilypad", "don't", "")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"words": ["frog"]}, [0, 3]),
        ({"words": "frog"}, [0, 3]),
        ({"words": ["frog", "frogs"]}, [0, 1, 3]),
        ({"words": ["FROG"], "ignore_case": False}, [3]),
        ({"words": ["frog"], "min_matches": 2}, [3]),
        ({"words": ["lily pad", "Don't"]}, [4, 6]),
    ],
)
def test_words_are_found_whole(parameters: dict[str, Any], expected: list[int]) -> None:
    assert found(keywords, FROGS, **parameters) == expected


def test_words_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufefffrog\n\n  lily pad \nnewt\n", encoding="utf-8")
    assert found(keywords, FROGS, path=str(path)) == [0, 3, 4]
    notes = keywords(documents(*FROGS), path=str(path), name="pond").attrs["notes"]
    assert notes["entries"] == 3 and notes["never_found"] == ["newt"] and notes["found_in"] == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "expected exactly one of words and path, found neither"),
        ({"words": ["a"], "path": "b"}, "found both"),
        ({"words": []}, "expected a list of words, found []"),
        ({"words": [True]}, "words: expected text, found True; put it in quotes"),
        ({"words": ["++"]}, "expected letters or digits, found '++'"),
        ({"words": ["frog"], "min_matches": 0}, "min_matches: expected a whole number from 1, found 0"),
        ({"path": "no/such/file"}, "expected a UTF-8 file with a word on each line, found 'no/such/file': No such"),
        ({"words": ["newt", "eft"], "name": "newts"}, "'newts': the words 'newt', 'eft' found in 0 of 8 documents"),
    ],
)
def test_a_wrong_parameter_of_keywords_is_one_line(parameters: dict[str, Any], message: str) -> None:
    assert message in refusal(keywords, FROGS, **parameters)


def test_an_empty_word_list_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert "found none" in refusal(keywords, FROGS, path=str(tmp_path / "empty.txt"))
    assert "expected a UTF-8 file" in refusal(keywords, FROGS, path=str(tmp_path / "latin.txt"))


def test_documents_with_one_value_of_a_field_are_a_group() -> None:
    groups = check_rule(field, parameters={"column": "source"})
    assert set(groups["group_id"]) == {"a", "b"}
    table = documents("x", "y", "z", "w", source=["s", "", None, "s"], year=[1, 2, 3, float("nan")])
    labels = field(table, column="source")
    assert labels.tolist() == ["s", None, None, "s"]
    assert labels.attrs["notes"] == {"values": 1, "unlabelled": 2, "giants": []}
    assert "no two documents have the same 'year'" in field(table, column="year").attrs["notes"]["notice"]


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(RuleError, match=re.escape("(source), found 'sorce'; did you mean 'source'? name more in")):
        field(sample_documents(), column="sorce")
    with pytest.raises(RuleError, match="expected a metadata column"):
        field(sample_documents(), column="text")
    with pytest.raises(RuleError, match="this corpus has none"):
        field(documents("x"), column="source")
