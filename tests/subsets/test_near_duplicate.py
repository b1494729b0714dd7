"""Near-duplicates are the components of the pairs whose exact similarity reaches the threshold; nothing else."""

import itertools
import json
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memo.errors import RuleError
from memo.rules import apply
from memo.testing import check_rule
from subsets import banding, linking
from subsets.banding import band_keys, colliding, plan
from subsets.linking import Components, ShingleSets
from subsets.prefix_join import PrefixJoin
from subsets.rules.exact import exact, normalized
from subsets.rules.near_duplicate import near_duplicate
from subsets.shingles import Shingler, Shingles

# Always the same examples: a failure is one for everybody.
REPEATED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CHAIN = [" ".join(f"w{i}" for i in range(start, start + 40)) for start in (0, 4, 8)]  # neighbours 0.8, ends 0.64


def documents(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"doc_id": [f"d{index}" for index in range(len(texts))], "text": texts, "n_tokens": 1})


def groups(texts: list[str], **parameters: object) -> list[list[int]]:
    labels = near_duplicate(documents(texts), **parameters).reset_index(drop=True)
    return sorted(sorted(members) for members in labels.groupby(labels).groups.values())


def notes(texts: list[str], **parameters: object) -> dict[str, object]:
    return near_duplicate(documents(texts), **parameters).attrs["notes"]


def shingles_of(text: str, size: int, unit: str) -> set[tuple[str, ...]]:
    """Written from the definition, on Python objects."""
    units = normalized(text).split() if unit == "word" else list(normalized(text))
    return {tuple(units[start : start + size]) for start in range(max(1, len(units) - size + 1))}


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)


def parts(count: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Connected components, the slow way."""
    part = list(range(count))
    for a, b in pairs:
        part = [part[a] if label == part[b] else label for label in part]
    return sorted([i for i in range(count) if part[i] == label] for label in set(part))


def hashed(texts: list[str], size: int = 5, unit: str = "word") -> Shingles:
    shingler = Shingler(size, unit)
    for text in texts:
        shingler.add(normalized(text))
    return shingler.finish()


def family(rng: np.random.Generator, count: int, words: int, edits: int, own: int = 0) -> list[str]:
    """Copies of one text, each with words replaced and words of its own at the end."""
    base = [f"b{index}" for index in range(words)]
    texts = []
    for number in range(count):
        text = list(base)
        for position in rng.choice(words, edits, replace=False):
            text[position] = f"x{number}.{position}"
        texts.append(" ".join([*text, *(f"y{number}.{index}" for index in range(own))]))
    return texts


@st.composite
def corpora(draw: st.DrawFn) -> list[str]:
    """Families of texts with edits, over few words, so that every similarity occurs."""
    word = st.sampled_from(["a", "b", "c", "d", "e", "fé", "g."])
    texts = []
    for base in draw(st.lists(st.lists(word, max_size=14), min_size=1, max_size=4)):
        for _ in range(draw(st.integers(1, 4))):
            text = list(base)
            for position in draw(st.lists(st.integers(0, len(base)), max_size=2)):
                text[position : position + 1] = [draw(word)]
            texts.append(" ".join(text))
    return texts


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every path of large buckets, on small ones."""
    monkeypatch.setattr(linking, "_LARGE_BUCKET", 3)
    monkeypatch.setattr(linking, "_JOINED_BUCKET", 5)
    monkeypatch.setattr(linking, "CHUNK_PAIRS", 7)
    yield


class TestGroups:
    @pytest.mark.parametrize("unit", ["word", "character"])
    def test_the_contract(self, unit: str) -> None:
        assert len(check_rule(near_duplicate, parameters={"unit": unit})) == 11

    @given(corpora(), st.sampled_from([0.2, 0.3, 0.5, 0.6, 0.75, 1.0]), st.integers(1, 4), st.booleans())
    @REPEATED
    def test_they_are_those_of_exact_similarity(
        self, texts: list[str], threshold: float, size: int, word: bool
    ) -> None:
        unit = "word" if word else "character"
        sets = [shingles_of(text, size, unit) for text in texts]
        numbers = range(len(texts))
        pairs = [(i, j) for i, j in itertools.combinations(numbers, 2) if jaccard(sets[i], sets[j]) >= threshold]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(banding, "RECALL", 1 - 1e-9)  # else a pair at the threshold is missed one time in fifty
            found = groups(texts, threshold=threshold, shingle=size, unit=unit, permutations=256)
        assert found == parts(len(texts), pairs)

    @given(st.integers(0, 2**32), st.integers(0, 3), st.integers(0, 9), st.sampled_from([0.4, 0.7, 0.8]))
    @REPEATED
    def test_they_are_the_components_of_all_candidate_pairs_that_verify(
        self, small_buckets: None, seed: int, edits: int, own: int, threshold: float
    ) -> None:
        rng = np.random.default_rng(seed)
        texts = [*family(rng, 25, 24, edits, own), *family(rng, 10, 40, 2)]
        texts = list(dict.fromkeys(texts))
        hashes, chosen = hashed(texts), plan(threshold, 128)
        keys = band_keys(hashes, chosen, 0)
        sets = [shingles_of(text, 5, "word") for text in texts]
        pairs = [
            (i, j)
            for i, j in itertools.combinations(range(len(texts)), 2)
            if (keys[i] == keys[j]).any() and jaccard(sets[i], sets[j]) >= threshold
        ]
        components = Components(ShingleSets(hashes.sets()), threshold, keys)
        components.link_all()
        expected = parts(len(texts), pairs)
        found = [np.flatnonzero(components.labels == label).tolist() for label in set(components.labels)]
        assert sorted(found) == expected
        assert groups(texts, threshold=threshold) == expected
        assert components.verified_pairs <= components.compared_pairs <= components.examined_pairs

    def test_the_order_of_the_documents_decides_nothing(self) -> None:
        rng = np.random.default_rng(0)
        frame = documents([*family(rng, 60, 50, 2), *family(rng, 30, 30, 1), "", "a", *CHAIN])
        labels = near_duplicate(frame)
        order = rng.permutation(len(frame))
        shuffled = near_duplicate(frame.iloc[order])
        assert shuffled.index.tolist() == order.tolist()
        assert shuffled.sort_index().tolist() == labels.tolist()
        assert shuffled.attrs == labels.attrs

    def test_they_contain_the_groups_of_exact_copies(self) -> None:
        texts = ["A b  c d e f", "A b c d e f ", "a b c d e f", "cafe\u0301 x y z u", "caf\u00e9 x y z u", "", "  \n"]
        copies = apply(exact, documents(texts)).groupby("group_id")["doc_id"].apply(set)
        near = apply(near_duplicate, documents(texts)).groupby("group_id")["doc_id"].apply(set)
        assert sorted(map(sorted, copies)) == sorted(map(sorted, near))  # no case folding: these differ in one letter

    def test_a_chain_is_one_group_and_is_reported(self) -> None:
        assert groups(CHAIN) == [[0, 1, 2]] and groups([CHAIN[0], CHAIN[2]]) == [[0], [1]]
        assert notes(CHAIN)["chains"] == 1 and notes(CHAIN[:2] + CHAIN[:1])["chains"] == 0

    def test_one_group_may_hold_everything(self) -> None:
        texts = family(np.random.default_rng(1), 40, 100, 1)
        assert groups(texts) == [list(range(40))]
        found = notes(texts)
        (giant,) = found["giants"]
        assert giant["documents"] == found["largest"] == 40 and giant["share"] == 1.0
        assert giant["group_id"] == near_duplicate(documents(texts)).iloc[0]

    def test_there_may_be_no_group_at_all(self) -> None:
        texts = [" ".join(f"{number}.{index}" for index in range(20)) for number in range(50)]
        assert groups(texts) == [[number] for number in range(50)]
        found = notes(texts)
        assert (found["largest"], found["giants"], found["verified_pairs"], found["chains"]) == (1, [], 0, 0)

    def test_no_documents_and_one_document(self) -> None:
        assert groups([]) == [] and notes([])["largest"] == 0 and groups(["a"]) == [[0]]

    def test_a_text_shorter_than_a_shingle_is_one_shingle(self) -> None:
        assert groups(["a b", "a  b", "a b c", "b a", "", " ", "a"]) == [[0, 1], [2], [3], [4, 5], [6]]
        assert groups(["ab", "abc", "", " ab"], unit="character") == [[0, 3], [1], [2]]

    def test_characters_of_any_script(self) -> None:
        texts = [
            "古池や蛙飛び込む水の音ああああ",
            "古池や蛙飛び込む水の音ああああい",
            "閑さや岩にしみ入る蝉の声",
            "🐸🐸🐸🐸🐸",
        ]
        assert groups(texts, unit="character") == [[0, 1], [2], [3]]


class TestCost:
    def test_copies_are_one_text(self) -> None:
        began = time.perf_counter()
        found = notes(["the same words each time again"] * 20_000)
        assert time.perf_counter() - began < 2
        assert found["distinct_texts"] == 1 and found["largest"] == 20_000 and found["candidate_pairs"] == 0

    def test_a_bucket_of_near_copies_costs_comparisons_in_proportion_to_its_members(self) -> None:
        found = notes(family(np.random.default_rng(2), 3000, 100, 1))
        assert found["largest"] == 3000 and found["candidate_pairs"] > 10_000_000
        assert found["examined_pairs"] < 50 * 3000 + 4 * 25 * 3000

    def test_a_form_that_is_filled_in_does_too(self) -> None:
        found = notes(family(np.random.default_rng(3), 3000, 60, 0, own=14))  # every pair has 0.67
        assert found["largest"] == 1 and found["candidate_pairs"] > 10_000_000
        assert found["examined_pairs"] < 50 * 3000 + 4 * 25 * 3000


class TestParts:
    @given(corpora(), st.integers(1, 4), st.sampled_from(["word", "character"]))
    @REPEATED
    def test_hashed_sets_are_as_large_and_as_similar_as_the_sets(self, texts: list[str], size: int, unit: str) -> None:
        sets = ShingleSets(hashed(texts, size, unit).sets())
        expected = [shingles_of(text, size, unit) for text in texts]
        assert sets.sizes.tolist() == [len(shingles) for shingles in expected]
        left, right = np.array(list(itertools.product(range(len(texts)), repeat=2))).T
        for threshold in (0.3, 0.5, 2 / 3, 1.0):
            similar = [jaccard(expected[i], expected[j]) >= threshold for i, j in zip(left, right, strict=True)]
            assert sets.reach(left, right, threshold).tolist() == similar
            assert (sets.may_reach(left, right, threshold) >= similar).all()

    @given(corpora(), st.sampled_from([0.2, 0.5, 0.7, 1.0]))
    @REPEATED
    def test_a_prefix_join_finds_every_pair(self, texts: list[str], threshold: float) -> None:
        hashes = hashed(texts, size=2)
        join = PrefixJoin(hashes.sets(), threshold)
        found = {frozenset(pair) for left, right in join.pairs() for pair in zip(left, right, strict=True)}
        assert join.count >= len(found)
        expected = [shingles_of(text, 2, "word") for text in texts]
        for i, j in itertools.combinations(range(len(texts)), 2):
            assert {i, j} in found or jaccard(expected[i], expected[j]) < threshold

    def test_rensa_names_every_text_that_shares_a_band(self) -> None:
        rng = np.random.default_rng(4)
        texts = [text for count in range(40) for text in family(rng, 3, 10 + count, 4)]
        hashes, chosen = hashed(texts, size=2), plan(0.5, 128)
        keys = band_keys(hashes, chosen, seed=1)
        shared = [any((keys[i] == keys[j]).any() for j in range(len(texts)) if i != j) for i in range(len(texts))]
        assert colliding(hashes, chosen, seed=1).tolist() == np.flatnonzero(shared).tolist()

    @pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
    def test_the_plan_is_the_most_selective_that_finds_98_percent(self, threshold: float) -> None:
        chosen = plan(threshold, 128)
        assert chosen.permutations <= 128 and chosen.recall(threshold) >= 0.98
        rows = chosen.rows + 1
        assert rows > 128 or 1 - (1 - threshold**rows) ** (128 // rows) < 0.98

    def test_slots_agree_as_often_as_the_sets_are_similar(self) -> None:
        rng = np.random.default_rng(5)
        texts = family(rng, 2, 400, 12)
        similarity = jaccard(*(shingles_of(text, 5, "word") for text in texts))
        slots = banding.signatures(hashed(texts), banding.Plan(1, 4096), seed=0)
        error = (similarity * (1 - similarity) / 4096) ** 0.5
        assert abs((slots[0] == slots[1]).mean() - similarity) < 4 * error

    def test_a_large_chain_is_found_in_a_sample_and_a_large_group_without_one_is_doubtful(self) -> None:
        words = [f"w{index}" for index in range(200)]
        sliding = [" ".join(words[start : start + 40]) for start in range(0, 160, 2)]
        assert notes(sliding)["chains"] == 1
        alike = notes(family(np.random.default_rng(6), 40, 200, 1))
        assert (alike["chains"], alike["chains_unknown"]) == (0, 1)


def test_notes_are_plain_data_and_name_the_scheme() -> None:
    found = notes(CHAIN, seed=3)
    assert json.loads(json.dumps(found)) == found
    assert found["scheme"] == "rensa RMinHash" and found["library"].startswith("rensa 0.")
    assert (found["bands"], found["rows"], found["permutations"], found["seed"]) == (25, 5, 125, 3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"threshold": 0}, "threshold: expected a number above 0 and up to 1, found 0"),
        ({"threshold": 1.01}, "found 1.01"),
        ({"threshold": float("nan")}, "found nan"),
        ({"threshold": "0.7"}, "found '0.7'"),
        ({"threshold": True}, "found True"),
        ({"threshold": 0.01}, "expected at least 390 permutations"),
        ({"shingle": 0}, "shingle: expected a whole number from 1 to 1000, found 0"),
        ({"shingle": 2.5}, "found 2.5"),
        ({"unit": "line"}, "unit: expected one of word, character, found 'line'"),
        ({"permutations": 0}, "permutations: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"treshold": 0.5}, "did you mean 'threshold'?"),
    ],
)
def test_a_wrong_parameter_is_one_line(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(RuleError) as error:
        apply(near_duplicate, documents(["a"]), parameters)
    assert message in str(error.value) and "\n" not in str(error.value)
