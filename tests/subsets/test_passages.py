"""Shared passages against every run of words of every document, looked at one by one."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memo.errors import RuleError
from memo.rules import apply
from memo.testing import check_rule, sample_documents
from subsets import passages, places
from subsets.passages import shared_passages
from subsets.rules.passage import passage
from subsets.word_ids import character_ids, word_ids

Sets = set[frozenset[int]]


def by_brute_force(texts: list[str], least: int) -> Sets:
    """The different sets of two or more documents in which some run of `least` words or more stands."""
    where: dict[tuple[str, ...], set[int]] = {}
    for document, text in enumerate(texts):
        words = text.split()
        for length in range(least, len(words) + 1):
            for start in range(len(words) - length + 1):
                where.setdefault(tuple(words[start : start + length]), set()).add(document)
    return {frozenset(documents) for documents in where.values() if len(documents) > 1}


def checked(texts: list[str], least: int) -> Sets:
    """The sets that are found; each passage stands in the documents that it names and in no other."""
    words = word_ids(texts)
    found = shared_passages(words, least)
    for each in found:
        text = words.text(each.start, each.length)
        assert len(text.split()) == each.length >= least
        assert each.documents.tolist() == [n for n, other in enumerate(texts) if f" {text} " in f" {other} "]
    sets = [frozenset(each.documents.tolist()) for each in found]
    assert len(set(sets)) == len(sets)
    return set(sets)


def made_texts(seed: int) -> list[str]:
    """Texts of few words, so that much is repeated: within a text, across texts, as copies and as parts of others."""
    draw = random.Random(seed)  # noqa: S311 - nothing is kept secret
    vocabulary, longest = draw.choice([1, 2, 3, 20]), draw.choice([6, 12, 30])
    texts = [
        " ".join(str(draw.randrange(vocabulary)) for _ in range(draw.randrange(longest)))
        for _ in range(draw.randrange(12))
    ]
    if texts and draw.random() < 0.5:
        texts += [texts[0], texts[0], f"{texts[0]} z {texts[-1]}".strip()]
    return texts


@pytest.mark.parametrize("least", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("seed", range(12))
def test_the_sets_are_those_of_brute_force(seed: int, least: int) -> None:
    texts = made_texts(100 * least + seed)
    assert checked(texts, least) == by_brute_force(texts, least)


@given(st.lists(st.text(alphabet="ab ", max_size=14), max_size=6), st.integers(1, 4))
def test_the_sets_are_those_of_brute_force_on_any_text(texts: list[str], least: int) -> None:
    texts = [" ".join(text.split()) for text in texts]
    assert checked(texts, least) == by_brute_force(texts, least)


@pytest.mark.parametrize("bits", [0, 1, 3])
def test_equal_hashes_of_different_words_are_parted(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """With hashes of 0 to 3 bits nearly all runs collide; only the comparison of the words keeps them apart."""
    whole, kept = places._window_hashes, np.uint64((1 << bits) - 1 << 64 - bits)

    def weak(ids: Any, least: int) -> Iterator[tuple[int, Any]]:
        for start, hashes in whole(ids, least):
            yield start, hashes & kept

    monkeypatch.setattr(places, "_window_hashes", weak)
    for seed in range(12):
        texts = made_texts(seed)
        assert checked(texts, 3) == by_brute_force(texts, 3)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "CHUNK", 7)
    monkeypatch.setattr(passages, "CHUNK", 7)
    monkeypatch.setattr(passages, "_LONGEST_STEP", 8)
    for seed in range(12):
        texts = made_texts(seed)
        assert checked(texts, 3) == by_brute_force(texts, 3)


def quoting(passage: str, seed: int, before: int = 20) -> str:
    noise = [f"{seed}-{number}" for number in range(40)]
    return " ".join([*noise[:before], passage, *noise[before:]])


def frame(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"doc_id": [f"d{n}" for n in range(len(texts))], "text": list(texts), "n_tokens": 1})


QUOTATION = " ".join(f"word{n}" for n in range(80))


def test_all_shifts_of_one_passage_are_one_group_and_a_longer_one_is_another() -> None:
    shorter = " ".join(QUOTATION.split()[:60])
    documents = frame(quoting(QUOTATION, 0), quoting(QUOTATION, 1, 5), quoting(shorter, 2), quoting("", 3))
    groups = check_rule(passage, documents)
    sets = groups.groupby("group_id")["doc_id"].agg(list)
    assert sorted(sets) == [["d0", "d1"], ["d0", "d1", "d2"]]
    assert all(label.startswith("word0 word1 word2 word3") for label in sets.index)
    notes = passage(documents).attrs["notes"]
    assert [(each["documents"], each["tokens"]) for each in notes["passages"]] == [(3, 60), (2, 80)]
    assert notes["passages"][0]["text"].startswith("word0 word1") and notes["rows"] == 5 and notes["in_groups"] == 3
    assert "notice" not in notes


def test_a_word_less_than_asked_for_is_no_passage() -> None:
    documents = frame(quoting(QUOTATION, 0), quoting(QUOTATION, 1))
    assert apply(passage, documents, {"min_tokens": 80})["group_id"].nunique() == 1
    found = passage(documents, min_tokens=81)
    assert (
        found.empty
        and "no passage of 81 words stands in two documents (the longest document has 120)"
        in (found.attrs["notes"]["notice"])
    )


def test_labels_do_not_depend_on_the_order_of_the_documents() -> None:
    documents = frame(*(quoting(QUOTATION, n) for n in range(3)), quoting("x y z " * 20, 4), quoting("x y z " * 20, 5))
    there, back = (apply(passage, table, {"min_tokens": 5}) for table in (documents, documents[::-1]))
    assert set(map(tuple, there.to_numpy())) == set(map(tuple, back.to_numpy())) and len(there) >= 5


def test_characters_are_counted_where_scripts_have_no_spaces() -> None:
    verse = "\u592a\u521d\u6709\u9053\u9053\u8207\u795e\u540c\u5728"
    documents = frame(f"\u4e00{verse}\u4e8c", f"\u4e09\u56db{verse}", verse[:4])
    groups = check_rule(passage, documents, {"unit": "character", "min_tokens": 5})
    assert groups["doc_id"].tolist() == ["d0", "d1"]
    assert groups["group_id"].iloc[0].startswith(verse)
    assert character_ids([" a\n b ", ""]).text(0, 3) == "a b"


def test_hostile_texts_are_grouped_and_their_labels_can_be_printed() -> None:
    assert check_rule(passage, parameters={"min_tokens": 5})["doc_id"].tolist() == ["toy:0", "toy:1"]
    groups = check_rule(passage, parameters={"min_tokens": 1, "unit": "character"})
    assert groups["group_id"].map(str.isprintable).all()
    assert len(check_rule(passage, sample_documents().iloc[:1])) == 0


def test_a_text_that_repeats_itself_ends() -> None:
    texts = ["ha " * length for length in (600, 500, 400, 3)]
    assert checked([text.strip() for text in texts], 50) == {frozenset({0, 1, 2}), frozenset({0, 1})}


def test_texts_that_are_mostly_alike_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "MOST_ROWS", 1000)
    texts = []
    for number in range(30):
        words = [f"w{n}" for n in range(200)]
        words[number * 37 % 200] = f"edit{number}"
        texts.append(" ".join(words))
    with pytest.raises(RuleError, match=r"up to 1,000 rows, found more of them .* raise min_tokens") as error:
        passage(frame(*texts))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"min_tokens": 0}, "min_tokens: expected a whole number from 1 to 1,000,000, found 0"),
        ({"min_tokens": 2.5}, "found 2.5"),
        ({"unit": "token"}, "unit: expected one of word, character, found 'token'"),
    ],
)
def test_a_wrong_parameter_is_one_line(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError) as error:
        apply(passage, sample_documents(), parameters)
    assert message in str(error.value) and "\n" not in str(error.value)
