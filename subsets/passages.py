"""Passages that several documents share: the set of documents of every passage of at least k words.

    for passage in shared_passages(numbered, least=50): passage.documents, passage.start, passage.length

A passage is a run of consecutive words of a document. What is found are the different sets D(p) = {documents in which p
stands}, for every passage p of `least` words or more that stands in two documents or more; every length counts, so a
longer quotation that only some of them share is a set of its own. For each set one passage that has it is given, the
longest of those that were looked at.

Not every p is looked at, and none is missed:

- Where all places of p follow the same word a, the passage a p stands in the same documents and everything that
  continues it does so as well: p is left out for a p. Of the shifts of a shared passage one remains.
- Where all places continue with the same words, these belong to it.
- What remains is split by the next word, and so on: these are the maximal repeats (Gusfield 1997, "Algorithms on
  Strings, Trees, and Sequences", section 7.12). A set of two documents holds no smaller one and is not split.

The first `least` words are compared in `subsets.places`, by hash and then word by word: nothing rests on a hash.

Costs about 0.2 microseconds a word where little is repeated, and 16 bytes a word beyond the words. A text that repeats
a word n times costs n^2 / 2 looks where three documents do so.

Shapes: W words of all documents, P places, C classes of places (a passage each).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memo.errors import RuleError
from subsets.places import CHUNK, Classes, changes, left_varied, repeated, several
from subsets.word_ids import Numbered

MOST_ROWS: Final = 5_000_000  # (document, set): more cannot be handled later on
MOST_VISITS: Final = 500_000_000  # places looked at, once for each word at which they part
_LONGEST_STEP: Final = 1024  # words compared at a time


@dataclass(frozen=True)
class Passage:
    """A set of documents, and a passage that stands in exactly these."""

    start: int  # one of its places, in words of all documents
    length: int  # words
    documents: NDArray[np.int32]  # rising


def shared_passages(words: Numbered, least: int) -> list[Passage]:
    """For each set of two or more documents that share a passage of `least` words or more, such a passage.

    In no particular order. Raises `RuleError` where the sets are too many to be of use: texts that are mostly alike.
    """
    found: dict[bytes, tuple[int, int]] = {}  # documents -> length, place
    rows = visits = 0
    classes = repeated(words, least)
    while len(classes.place):
        visits += len(classes.place)
        classes = _extended(words, several(left_varied(words, classes)))
        for key, place, depth in _described(classes):
            if key not in found:
                rows += len(key) // 4
            found[key] = _longer(words, found.get(key), (depth, place))
        if rows > MOST_ROWS or visits > MOST_VISITS:
            raise RuleError(
                f"rule 'passage': expected sets of documents that make up to {MOST_ROWS:,} rows, found more of them "
                f"(passages of {least} words, {len(found):,} sets so far); raise min_tokens, or group texts that are "
                "mostly alike with near_duplicate"
            )
        classes = _split(words, classes)
    documents = {key: np.frombuffer(key, dtype=np.int32) for key in found}
    return [Passage(place, length, documents[key]) for key, (length, place) in found.items()]


def _longer(words: Numbered, old: tuple[int, int] | None, new: tuple[int, int]) -> tuple[int, int]:
    """(length, place) of the longer passage; of two as long one by its words, so that no order of texts decides."""
    if old is None or new[0] > old[0]:
        return new
    if new[0] < old[0]:
        return old
    return min(old, new, key=lambda each: words.ids[each[1] : each[1] + each[0]].tobytes())


def _extended(words: Numbered, classes: Classes) -> Classes:
    """Depths grow by the words with which all places of a class go on."""
    if not len(classes.place):
        return classes
    ends = words.offsets[classes.document + 1]
    starts = classes.starts
    common = classes.depth[classes.number]  # (P,) words that a place has in common with the first of its class
    open_ = np.flatnonzero(~changes(classes.number))
    step = 8
    while len(open_):
        still = []
        for some in np.array_split(open_, len(open_) * step // CHUNK + 1):
            left = classes.place[some] + common[some]
            first = classes.place[starts][classes.number[some]]
            right = first + common[some]
            room = np.minimum(ends[some] - left, ends[starts][classes.number[some]] - right)
            ahead = np.arange(step)
            last = len(words.ids) - 1  # beyond the room anything may stand
            same = (
                words.ids[np.minimum(left[:, None] + ahead, last)]
                == words.ids[np.minimum(right[:, None] + ahead, last)]
            )
            same &= ahead < room[:, None]
            gained = np.where(same.all(axis=1), step, same.argmin(axis=1))
            common[some] += gained
            still.append(some[gained == step])
        open_ = np.concatenate(still)
        # No place needs to go beyond one of its class that has stopped already.
        least = np.minimum.reduceat(np.where(changes(classes.number), np.iinfo(np.int64).max, common), starts)
        open_ = open_[common[open_] <= least[classes.number[open_]]]
        step = min(2 * step, _LONGEST_STEP)
    common[starts] = np.iinfo(np.int64).max
    return Classes(classes.place, classes.number, classes.document, np.minimum.reduceat(common, starts))


def _described(classes: Classes) -> Iterator[tuple[bytes, int, int]]:
    """For each class its documents, as the bytes of their rising numbers, a place, and its depth."""
    different = changes(classes.number, classes.document)
    documents, number = classes.document[different], classes.number[different]
    bounds = np.append(np.flatnonzero(changes(number)), len(number)).tolist()
    for row, (place, depth) in enumerate(
        zip(classes.place[classes.starts].tolist(), classes.depth.tolist(), strict=True)
    ):
        yield documents[bounds[row] : bounds[row + 1]].tobytes(), place, depth


def _split(words: Numbered, classes: Classes) -> Classes:
    """Classes of three documents or more, parted by the word that follows; places at the end of a document go."""
    different = changes(classes.number, classes.document)
    large = np.bincount(classes.number[different], minlength=len(classes.depth)) > 2
    after = classes.place + classes.depth[classes.number]
    rows = large[classes.number] & (after < words.offsets[classes.document + 1])
    place, number, after = classes.place[rows], classes.number[rows], after[rows]
    following = words.ids[after]
    order = np.lexsort((place, following, number))
    new = changes(number[order], following[order])
    depth = classes.depth[number[order][new]] + 1
    return several(Classes(place[order], np.cumsum(new) - 1, classes.document[rows][order], depth))
