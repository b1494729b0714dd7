"""Places in texts where the same words stand, in classes: equal words, equal class.

    classes = repeated(words, 50)        # places in several documents with 50 words in common

Places are found by sorting 64-bit keys, a hash of the words above the place. Equal hashes only propose: the words
themselves are compared, and those that differ are parted.

Shapes: W words of all documents, P places, C classes of places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from subsets.shingles import mixed
from subsets.word_ids import Ids, Numbered

CHUNK: Final = 1 << 20
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Classes:
    """Places of passages, sorted by class and place."""

    place: Positions  # (P,)
    number: Positions  # (P,) of the class, from 0 without gaps
    document: NDArray[np.int32]  # (P,)
    depth: Positions  # (C,) words that its places are known to have in common

    def take(self, rows: NDArray[np.bool_]) -> "Classes":
        """Some places; classes that lose all are gone."""
        number = self.number[rows]
        kept = number[changes(number)]
        return Classes(self.place[rows], dense(number), self.document[rows], self.depth[kept])

    @property
    def starts(self) -> Positions:
        """(C,) the first place of each class."""
        return np.flatnonzero(changes(self.number))


def repeated(words: Numbered, least: int) -> Classes:
    """Places that have their first `least` words in common with a place in another document, and at which a passage
    begins: where all places of a class follow the same word, they are left out."""
    return _parted(words, _candidates(words, least), least)


def several(classes: Classes) -> Classes:
    """Classes that stand in two documents or more."""
    if not len(classes.place):
        return classes
    starts = classes.starts
    ends = np.append(starts[1:], len(classes.place)) - 1
    kept = classes.document[starts] != classes.document[ends]
    return classes.take(kept[classes.number])


def left_varied(words: Numbered, classes: Classes) -> Classes:
    """Classes whose places do not all follow the same word; the beginning of a document is like nothing else."""
    if not len(classes.place):
        return classes
    begins = classes.place == words.offsets[classes.document]
    before = np.where(begins, -1, words.ids[classes.place - 1])
    starts = classes.starts
    differs = begins | (before != before[starts][classes.number])
    return classes.take(np.logical_or.reduceat(differs, starts)[classes.number])


def _candidates(words: Numbered, least: int) -> Classes:
    """Places whose first `least` words have a hash in common with a place in another document."""
    fits = np.diff(words.offsets) >= least
    if not fits.any():
        return _none()
    bits = np.uint64(len(words.ids).bit_length())  # of a place; the rest of a key is hash
    keys = np.empty(int((np.diff(words.offsets)[fits] - least + 1).sum()), dtype=np.uint64)
    written = 0
    for start, hashes in _window_hashes(words.ids, least):
        place = np.arange(start, start + len(hashes))
        inside = np.ones(len(hashes), dtype=bool)
        for end in words.offsets[slice(*np.searchsorted(words.offsets, [start + 1, start + len(hashes) + least]))]:
            inside[max(0, end - start - least + 1) : max(0, end - start)] = False
        kept = (hashes[inside] >> bits << bits) | place[inside].astype(np.uint64)
        keys[written : written + len(kept)] = kept
        written += len(kept)
    keys.sort()
    same = np.zeros(len(keys) + 1, dtype=bool)
    same[1:-1] = (keys[1:] ^ keys[:-1]) >> bits == 0  # with the one before
    keys, first = keys[same[1:] | same[:-1]], ~same[:-1][same[1:] | same[:-1]]
    place = (keys & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    number = np.cumsum(first) - 1
    document = (np.searchsorted(words.offsets, place, side="right") - 1).astype(np.int32)
    classes = Classes(place, number, document, np.full(int(first.sum()), least, dtype=np.int64))
    return several(left_varied(words, several(classes)))


def _window_hashes(ids: Ids, least: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """The hash of each run of `least` words, a chunk at a time: its start, and the hashes of the runs from there on.

    A run's hash is made of those of two shorter runs, mixed at each step, which leaves no structure to the polynomial.
    """
    for start in range(0, len(ids) - least + 1, CHUNK):
        codes = mixed(ids[start : start + CHUNK + least - 1].astype(np.uint64) + np.uint64(1))
        power, length = codes, 1  # hashes of runs whose length is a power of two
        whole, done = codes[:0], 0
        while done < least:
            if least & length:
                whole = _joined(whole, power[done:]) if done else power
                done += length
            power, length = _joined(power, power[length:]), 2 * length
        yield start, whole[:CHUNK]


def _joined(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    count = min(len(left), len(right))
    return mixed(left[:count] * _MULTIPLIER + right[:count])


def _parted(words: Numbered, classes: Classes, least: int) -> Classes:
    """Classes whose places really have their first `least` words in common: those that differ from the first of their
    class become a class of their own, until none does."""
    open_, numbers = np.arange(len(classes.place)), classes.number.copy()
    while len(open_):
        place, number = classes.place[open_], numbers[open_]
        first = place[np.flatnonzero(changes(number))][dense(number)]
        differ = np.zeros(len(place), dtype=bool)
        for ahead in range(least):
            differ |= words.ids[place + ahead] != words.ids[first + ahead]
        open_ = open_[differ]
        numbers[open_] += len(classes.place)  # beyond every other number, and apart where they were apart
    order = np.lexsort((classes.place, numbers))
    number = dense(numbers[order])
    depth = np.full(int(number[-1]) + 1 if len(number) else 0, least, dtype=np.int64)
    return several(Classes(classes.place[order], number, classes.document[order], depth))


def changes(*keys: NDArray[Any]) -> NDArray[np.bool_]:
    """(P,) where a run of equal keys begins."""
    begins = np.ones(len(keys[0]), dtype=bool)
    begins[1:] = False
    for key in keys:
        begins[1:] |= key[1:] != key[:-1]
    return begins


def dense(numbers: Positions) -> Positions:
    """(P,) numbers from 0 without gaps, for numbers whose equals stand together."""
    return np.cumsum(changes(numbers)) - 1


def _none() -> Classes:
    none = np.empty(0, dtype=np.int64)
    return Classes(none, none, none.astype(np.int32), none)
