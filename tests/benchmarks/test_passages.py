"""Shared passages on 100,000 documents, and against every run of words of 2,000. `make benchmark` prints it.

    pytest -m benchmark -s tests/benchmarks/test_passages.py

The texts: words drawn by a Zipf law; a fifth quotes one of many passages of 60 to 99 words, a tenth is another document
with three words changed, one in twenty a copy of another. Memory is that of a process of its own.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from subsets.passages import shared_passages
from subsets.rules.passage import passage
from subsets.word_ids import word_ids

pytestmark = pytest.mark.benchmark

LARGE, SMALL, WORDS, LEAST = 100_000, 2_000, 200, 50
MOST_S, MOST_BYTES = 60.0, 4e9


def made_texts(count: int) -> list[str]:
    random = np.random.default_rng(0)
    vocabulary = np.array([f"w{number}" for number in range(50_000)], dtype=object)
    chances = 1 / np.arange(1, len(vocabulary) + 1)
    chances /= chances.sum()

    def draw(words: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return random.choice(len(vocabulary), size=words, p=chances)

    quotations = [draw(int(random.integers(60, 100))) for _ in range(count // 20)]
    first = words = draw(WORDS)
    texts = []
    for kind in random.random(count):
        if kind < 0.2:
            quotation = quotations[int(random.integers(len(quotations)))]
            words = np.insert(draw(WORDS), int(random.integers(WORDS)), quotation)
        elif kind < 0.3:
            words = first.copy()
            words[random.integers(0, WORDS, 3)] = draw(3)
        elif kind < 0.35:
            words = first
        else:
            words = draw(WORDS)
            first = words if random.random() < 0.1 else first
        texts.append(" ".join(vocabulary[words]))
    return texts


def by_brute_force(texts: list[str], least: int) -> set[frozenset[int]]:
    """The sets of two or more documents in which some run of `least` words or more stands. Runs grow a word at a time,
    from those that stand in several documents: a longer run stands nowhere else."""
    documents = [text.split() for text in texts]
    open_ = [(n, start) for n, words in enumerate(documents) for start in range(len(words) - least + 1)]
    sets: set[frozenset[int]] = set()
    length = least
    while open_:
        where: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for number, start in open_:
            where.setdefault(tuple(documents[number][start : start + length]), []).append((number, start))
        shared = [places for places in where.values() if len({number for number, _ in places}) > 1]
        sets |= {frozenset(number for number, _ in places) for places in shared}
        length += 1
        open_ = [place for places in shared for place in places if place[1] + length <= len(documents[place[0]])]
    return sets


@pytest.mark.timeout(1800)
def test_the_sets_are_those_of_brute_force_on_2000_documents() -> None:
    texts = made_texts(SMALL)
    for least in (5, 20, LEAST):
        began = time.perf_counter()
        found = shared_passages(word_ids(texts), least)
        took = time.perf_counter() - began
        began = time.perf_counter()
        expected = by_brute_force(texts, least)
        print(
            f"\n{SMALL:,} documents, passages of {least} words: {len(expected):,} sets, "
            f"{took:.2f} s, brute force {time.perf_counter() - began:.1f} s",
            end="",
        )
        assert {frozenset(each.documents.tolist()) for each in found} == expected
        assert len(found) == len(expected) > 100


@pytest.mark.timeout(1800)
def test_100000_documents_take_less_than_a_minute_and_4_gb() -> None:
    result = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    told, last = result.stdout.splitlines()
    seconds, peak = map(float, last.split())
    print(f"\n{told}")
    assert seconds < MOST_S and peak < MOST_BYTES


def main() -> None:
    """Prints what was found; last the seconds of the slowest of three runs, and the peak of the memory in bytes."""
    texts = made_texts(LARGE)
    documents = pd.DataFrame({"doc_id": [str(number) for number in range(LARGE)], "text": texts})
    times = []
    for _ in range(3):
        began = time.perf_counter()
        groups = passage(documents, min_tokens=LEAST)
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    notes = groups.attrs["notes"]
    told = " ".join(f"{each:.1f}" for each in times)
    print(
        f"{LARGE:,} documents, {notes['tokens']:,} words: {groups['group_id'].nunique():,} groups of "
        f"{notes['in_groups']:,} documents, {told} s, {peak / 1e9:.2f} GB with the texts"
    )
    print(max(times), peak)


if __name__ == "__main__":
    main()
