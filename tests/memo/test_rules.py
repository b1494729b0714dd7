"""What a rule may return, and one line for what it may not."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import memo
from memo.errors import RuleError
from memo.rules import Rule, apply
from memo.testing import check_rule, sample_documents


@memo.rule("frogs")
def frogs(documents: pd.DataFrame, word: str = "frog") -> pd.Series:
    """Documents that name frogs are one group; the others are in none."""
    return documents["text"].str.lower().str.contains(word, regex=False).map({True: "frogs", False: None})


def test_a_series_of_labels_becomes_groups() -> None:
    groups = apply(frogs, sample_documents())
    assert groups["doc_id"].tolist() == ["toy:0", "toy:1", "toy:2"]
    assert set(groups["group_id"]) == {"frogs"}


def test_parameters_reach_the_rule() -> None:
    assert apply(frogs, sample_documents(), {"word": "script"})["doc_id"].tolist() == ["toy:6"]


def test_groups_may_overlap_in_a_frame() -> None:
    def words(documents: pd.DataFrame) -> pd.DataFrame:
        rows = [
            {"doc_id": row.doc_id, "group_id": word}
            for row in documents.itertuples()
            for word in ("frog", "lily")
            if word in row.text.lower()
        ]
        return pd.DataFrame(rows, columns=["doc_id", "group_id"])

    groups = check_rule(words)
    assert len(groups) == 6 and groups["group_id"].nunique() == 2


def test_the_decorator_takes_the_name_of_the_function() -> None:
    @memo.rule
    def toads(documents: pd.DataFrame) -> pd.Series:
        return pd.Series("t", index=documents.index)

    assert isinstance(toads, Rule) and toads.name == "toads"


def test_a_rule_cannot_change_the_documents() -> None:
    documents = sample_documents()

    def careless(documents: pd.DataFrame) -> pd.Series:
        documents["text"] = ""
        return documents["doc_id"]

    apply(Rule("careless", careless), documents)
    assert documents["text"][0] == "The frog sat on a lily pad."


def pairs(documents: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"doc_id": documents["doc_id"], "group_id": "x"})


def noted(documents: pd.DataFrame, notes: object) -> pd.DataFrame:
    frame = pairs(documents)
    frame.attrs["notes"] = notes
    return frame


def endless(documents: pd.DataFrame) -> pd.Series:
    while True:
        try:
            sum(range(1000))
        except Exception:  # noqa: S112 - the alarm must get through this
            continue


BAD: dict[str, tuple[Callable[[pd.DataFrame], Any], str]] = {
    "a list": (lambda d: ["x"] * len(d), "found list"),
    "too few": (lambda d: pd.Series(["x"]), "expected one label per document (11), found 1; give None"),
    "another index": (lambda d: pd.Series("x", index=range(100, 100 + len(d))), "another index"),
    "nested": (lambda d: pd.Series([["x"]] * len(d)), "found ['x']"),
    "unknown ids": (lambda d: pd.DataFrame({"doc_id": ["nobody"], "group_id": ["x"]}), "'nobody'"),
    "an array": (lambda d: pd.Series([np.zeros(2)] * len(d)), "one label in each row, text or a number, found array"),
    "a list of ids": (lambda d: pd.DataFrame({"doc_id": [["toy:0"]], "group_id": ["x"]}), "one doc_id in each row"),
    "NaN for an id": (
        lambda d: pd.DataFrame({"doc_id": [float("nan")], "group_id": ["x"]}),
        "1 unknown, for instance a missing one",
    ),
    "a row twice": (
        lambda d: pd.concat([pairs(d), pairs(d)[:2]]),
        "found 2 rows that stand again, for instance 'toy:0'",
    ),
    "no columns": (lambda d: pd.DataFrame({"id": ["toy:0"]}), "doc_id and group_id, once each, found id; rename"),
    "a column twice": (
        lambda d: pd.concat([pairs(d), d[["doc_id"]]], axis=1),
        "once each, found doc_id, group_id, doc_id",
    ),
    "raises": (lambda d: 1 / 0, "raised ZeroDivisionError"),
    "leaves": (lambda d: sys.exit(3), "raised SystemExit"),
    "notes": (lambda d: noted(d, {1: object()}), "attrs['notes']: expected plain data"),
    "surrogates": (lambda d: pd.Series(["\ud800"] * len(d), index=d.index, dtype=object), "labels that are text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_return_is_one_line_that_names_the_rule(name: str) -> None:
    function, message = BAD[name]
    with pytest.raises(RuleError) as error:
        apply(Rule("broken", function), sample_documents())
    assert "'broken'" in str(error.value) and message in str(error.value) and "\n" not in str(error.value)


def test_a_rule_without_end_is_stopped_and_the_line_named() -> None:
    with pytest.raises(RuleError) as error:
        apply(Rule("endless", endless), sample_documents(), timeout_s=0.2)
    message = str(error.value)
    assert message.startswith("rule 'endless': expected groups within 0.2 s, found it still at work at ")
    assert "test_rules.py:" in message and message.endswith("raise its timeout_s")
    with pytest.raises(RuleError, match=r"within 0\.2 s"):
        check_rule(endless, timeout_s=0.2)


def test_a_missing_label_of_any_kind_is_no_group() -> None:
    labels = ["a", None, float("nan"), pd.NA, pd.NaT, "a", 1, 2.5, True, pd.Timestamp("2020-01-01"), np.int64(1)]
    groups = apply(Rule("mixed", lambda d: pd.Series(labels, dtype=object)), sample_documents())
    assert groups["group_id"].tolist() == ["a", "a", "1", "2.5", "True", "2020-01-01 00:00:00", "1"]


def test_unknown_and_missing_parameters_are_named() -> None:
    with pytest.raises(RuleError, match="did you mean 'word'"):
        apply(frogs, sample_documents(), {"wrod": "x"})
    with pytest.raises(RuleError, match="needs the parameter 'threshold'"):
        apply(Rule("near", lambda documents, threshold: documents["doc_id"]), sample_documents())


def test_check_rule_finds_rules_that_depend_on_order_or_chance() -> None:
    def by_position(documents: pd.DataFrame) -> pd.Series:
        return pd.Series(np.arange(len(documents)) // 2, index=documents.index)

    def by_chance(documents: pd.DataFrame) -> pd.Series:
        return pd.Series(np.random.default_rng().integers(0, 9, len(documents)), index=documents.index)

    with pytest.raises(RuleError, match="order of the documents"):
        check_rule(by_position)
    with pytest.raises(RuleError, match="second run"):
        check_rule(by_chance)
    check_rule(frogs)
