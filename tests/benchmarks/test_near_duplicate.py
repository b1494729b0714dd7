"""Near-duplicates on real text: what is found, what it costs, and against datasketch. `make benchmark` prints it.

MEMO_BENCHMARK_DATA=folder     with bible/*.jsonl (fields id, group, text; the group is the verse) adds real families
MEMO_BENCHMARK_LARGE=1         adds a million documents to the table of memory and time
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from subsets.banding import Plan, band_keys, plan
from subsets.readers.records import Document
from subsets.readers.stdlib import stdlib_documents
from subsets.rules.exact import normalized
from subsets.rules.near_duplicate import near_duplicate
from subsets.shingles import Shingler, Shingles

pytestmark = pytest.mark.benchmark

DOCUMENTS = 5000
SHINGLE = 5
ROUNDS = 5
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def frame(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"doc_id": [str(index) for index in range(len(texts))], "text": texts})


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Distinct docstrings, of the size of a verse and more."""
    found = [d.text for d in stdlib_documents() if isinstance(d, Document) and len(d.text) >= 60]
    return list({normalized(text): text for text in found}.values())[:DOCUMENTS]


def word_shingles(text: str) -> set[tuple[str, ...]]:
    words = normalized(text).split()
    return {tuple(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1))}


def similar_pairs(texts: list[str], least: float) -> pd.DataFrame:
    """Every pair of texts with this exact similarity, from the product of the incidence matrix with itself."""
    numbers: dict[tuple[str, ...], int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        for shingle in word_shingles(text):
            rows.append(row)
            columns.append(numbers.setdefault(shingle, len(numbers)))
    sets = csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(texts), len(numbers)))
    common = coo_array(sets @ sets.T)
    sizes = sets.sum(axis=1)
    similarity = common.data / (sizes[common.row] + sizes[common.col] - common.data)
    kept = (common.row < common.col) & (similarity >= least)
    return pd.DataFrame({"left": common.row[kept], "right": common.col[kept], "similarity": similarity[kept]})


def proposed(texts: list[str], pairs: pd.DataFrame, chosen: Plan, seed: int) -> float:
    """Share of the pairs that agree in some band."""
    shingler = Shingler(SHINGLE, "word")
    for text in texts:
        shingler.add(normalized(text))
    keys = band_keys(shingler.finish(), chosen, seed)
    return float((keys[pairs["left"]] == keys[pairs["right"]]).any(axis=1).mean())


def false_members(labels: "pd.Series[str]", pairs: pd.DataFrame) -> int:
    """Texts in a group of several that have no partner in it at or above the threshold."""
    values = labels.to_numpy()
    inside = pairs[values[pairs["left"]] == values[pairs["right"]]]
    partnered = np.zeros(len(labels), dtype=bool)
    partnered[inside["left"]] = partnered[inside["right"]] = True
    return int((labels.duplicated(keep=False).to_numpy() & ~partnered).sum())


def check_recall(name: str, texts: list[str], seeds: range = range(3)) -> None:
    print(f"\n{name}: {len(texts):,} distinct texts, shingles of {SHINGLE} words, {len(seeds)} seeds")
    print("threshold  bands x rows  pairs    proposed (least)  expected at threshold  in one group  false members")
    every_pair = similar_pairs(texts, min(THRESHOLDS))
    for threshold in THRESHOLDS:
        pairs, chosen = every_pair[every_pair["similarity"] >= threshold], plan(threshold, 128)
        recalls = [proposed(texts, pairs, chosen, seed) for seed in seeds]
        labels = near_duplicate(frame(texts), threshold=threshold, shingle=SHINGLE)
        values = labels.to_numpy()
        grouped = (values[pairs["left"]] == values[pairs["right"]]).mean()
        wrong = false_members(labels, pairs)
        print(
            f"{threshold:9}  {chosen.bands:5} x {chosen.rows:<4}  {len(pairs):<7,}  {np.mean(recalls):.4f} "
            f"({min(recalls):.4f})   {chosen.recall(threshold):.4f}                 {grouped:.4f}        {wrong}"
        )
        assert wrong == 0
        if len(pairs) >= 50:  # of fewer, one that is missed decides
            assert np.mean(recalls) >= 0.98 and grouped >= 0.98


def test_pairs_of_docstrings_are_found(texts: list[str]) -> None:
    check_recall("docstrings", texts)


def test_pairs_of_verses_are_found() -> None:
    """All versions of verses drawn at random."""
    verses = bible()
    order = pd.Series(np.random.default_rng(0).random(verses["group"].nunique()), index=verses["group"].unique())
    verses = verses.iloc[np.argsort(verses["group"].map(order).to_numpy(), kind="stable")]
    check_recall("verses", list({normalized(text): text for text in verses["text"]}.values())[:DOCUMENTS])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("union", [10, 50, 200, 1000])
def test_pairs_at_the_threshold_are_proposed_as_often_as_the_formula_says(union: int, threshold: float) -> None:
    """Sets of every size, all pairs at the threshold or just above: the least recall there is."""
    common, count, random = int(np.ceil(threshold * union)), 10_000, np.random.default_rng(union)
    values = random.integers(0, 2**64, (count, union), dtype=np.uint64)
    cut = common + (union - common) // 2
    left, right = values[:, :cut], np.hstack([values[:, :common], values[:, cut:]])
    chosen = plan(threshold, 128)
    keys = []
    for hashes in (left, right):
        offsets = np.arange(count + 1) * hashes.shape[1]
        keys.append(band_keys(Shingles(np.ascontiguousarray(hashes).reshape(-1), offsets), chosen, seed=0))
    found, expected = (keys[0] == keys[1]).any(axis=1).mean(), chosen.recall(common / union)
    print(f"\n{union} shingles in the union, J = {common / union:.3f}: proposed {found:.4f}, formula {expected:.4f}")
    assert found >= 0.98 and found > expected - 4 * (expected * (1 - expected) / count) ** 0.5


def with_datasketch(texts: list[str], threshold: float, bands: tuple[int, int] | None) -> int:
    """The same groups the recommended way: MinHash in bulk, one LSH index, a query a text; pairs verified exactly."""
    from datasketch import MinHash, MinHashLSH

    shingles = []
    for text in texts:
        words = normalized(text).split()
        runs = range(max(1, len(words) - SHINGLE + 1))
        shingles.append({" ".join(words[start : start + SHINGLE]).encode() for start in runs})
    hashes = MinHash.bulk(shingles, num_perm=128)
    index = MinHashLSH(threshold=threshold, num_perm=128, params=bands)
    with index.insertion_session() as session:
        for number, one in enumerate(hashes):
            session.insert(number, one, check_duplication=False)
    edges = [(0, 0)]
    for number, one in enumerate(hashes):
        for other in index.query(one):
            if other > number:
                a, b = shingles[number], shingles[other]
                common = len(a & b)
                if common / (len(a) + len(b) - common) >= threshold:
                    edges.append((number, other))
    left, right = np.array(edges).T
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(texts), len(texts)))
    return int(connected_components(graph, directed=False)[0])


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def test_ten_times_the_throughput_of_datasketch(texts: list[str]) -> None:
    """Side by side in every round, both warmed up.

    The claim is for the same bands, with which both give the same groups. Datasketch's own bands weigh false candidates
    against missed pairs: fewer bands, faster, and more than half of the pairs at the threshold are missed.
    """
    documents, chosen = frame(texts), plan(0.7, 128)
    choices = {"same bands": (chosen.bands, chosen.rows), "its own bands": None}
    near_duplicate(documents)
    with_datasketch(texts[:200], 0.7, None)
    ratios: dict[str, list[float]] = {name: [] for name in choices}
    print(f"\n{len(texts):,} docstrings, threshold 0.7, 128 permutations; microseconds a document, whole stage")
    for _ in range(ROUNDS):
        ours, labels = seconds(lambda: near_duplicate(documents))
        line = f"memo {ours / len(texts) * 1e6:6.1f} ({labels.nunique()} groups)"
        for name, bands in choices.items():
            theirs, groups = seconds(lambda bands=bands: with_datasketch(texts, 0.7, bands))
            ratios[name].append(theirs / ours)
            line += f"   datasketch, {name} {theirs / len(texts) * 1e6:6.1f} ({groups} groups): {theirs / ours:.1f} x"
            assert groups == labels.nunique() or bands is None
        print(line)
    for name, values in ratios.items():
        print(f"{name}: median {statistics.median(values):.1f} x, from {min(values):.1f} to {max(values):.1f}")
    assert statistics.median(ratios["same bands"]) >= 10


SCALE = """
import json, sys, time
from pathlib import Path
import numpy as np, pandas as pd
from subsets.rules.near_duplicate import near_duplicate

def status(key):
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(key)).split()[1])

count, random = int(sys.argv[1]), np.random.default_rng(0)
vocabulary = np.array([f"word{number}" for number in range(50_000)])
texts = []
while len(texts) < count:   # of ten documents seven are alone, two are near-copies of others, one is a copy
    words = random.integers(0, 50_000, (7_000, 60))
    near = words[:2_000].copy()
    near[:, 30] += 1
    rows = np.concatenate([words, near % 50_000, words[2_000:3_000]])
    texts += [" ".join(row) for row in vocabulary[rows]]
documents = pd.DataFrame({"doc_id": np.arange(count).astype(str), "text": texts[:count]})
del texts, rows, words, near
near_duplicate(documents.iloc[:2000])
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before, began = status("VmRSS"), time.perf_counter()
labels = near_duplicate(documents)
taken = time.perf_counter() - began
text_kb = int(documents["text"].str.len().sum()) // 1024
print(json.dumps([taken, (status("VmHWM") - before) * 1024, before * 1024, text_kb * 1024, int(labels.nunique())]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_time_and_memory_grow_with_the_documents() -> None:
    counts = [10_000, 100_000, *([1_000_000] if os.environ.get("MEMO_BENCHMARK_LARGE") else [])]
    print("\ndocuments of 60 words   seconds  microseconds each   peak beyond the documents   kB each   groups")
    measured = []
    for count in counts:
        ran = subprocess.run([sys.executable, "-c", SCALE, str(count)], capture_output=True, text=True, check=True)
        taken, grown, before, text, groups = json.loads(ran.stdout)
        measured.append((taken, grown))
        print(
            f"{count:21,}   {taken:7.2f}  {taken / count * 1e6:17.1f}   "
            f"{grown / 1e6:13,.0f} MB on {before / 1e6:5,.0f} MB   {grown / count / 1e3:7.2f}   "
            f"{groups:,} ({text / 1e6:,.0f} MB of text)"
        )
    for (time_few, memory_few), (time_many, memory_many) in itertools.pairwise(measured):
        assert time_many < 15 * time_few and memory_many < 12 * memory_few


def bible() -> pd.DataFrame:
    folder = os.environ.get("MEMO_BENCHMARK_DATA")
    if not folder:
        pytest.skip("MEMO_BENCHMARK_DATA is not set to a folder with bible/*.jsonl")
    files = sorted(Path(folder).glob("bible/*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return pd.DataFrame(rows)


def pairs_in(*labels: "pd.Series[Any]") -> int:
    """Pairs of documents that agree in all labels."""
    sizes = pd.concat(labels, axis=1).value_counts().to_numpy()
    return int((sizes * (sizes - 1) // 2).sum())


@pytest.mark.parametrize("shingle", [3, 5])
def test_verses_of_four_versions_by_threshold(shingle: int) -> None:
    """A pair is right where both texts are the same verse.

    Versions that differ in wording are out of reach of any threshold; and what is the same in different verses counts
    as wrong, though it is a copy: 72 verses read "And the LORD spake unto Moses, saying,".
    """
    verses = bible()
    true, documents = verses["group"].rename("verse"), frame(verses["text"].tolist())
    possible = pairs_in(true)
    print(f"\n{len(verses):,} verses, {possible:,} pairs of the same verse, shingles of {shingle} words")
    print("threshold  pairs found  precision  recall  groups of two or more  chains  largest  seconds")
    for threshold in THRESHOLDS:
        taken, labels = seconds(
            lambda threshold=threshold: near_duplicate(documents, threshold=threshold, shingle=shingle)
        )
        labels = labels.rename("found")
        found, right = pairs_in(labels), pairs_in(labels, true)
        notes = labels.attrs["notes"]
        print(
            f"{threshold:9}  {found:11,}  {right / found:9.4f}  {right / possible:6.4f}  "
            f"{int((labels.value_counts() > 1).sum()):21,}  {notes['chains']:6,}  {notes['largest']:7,}  {taken:7.2f}"
        )
        assert right <= possible
