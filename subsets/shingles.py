"""Texts as sets of hashed shingles: runs of n consecutive words or characters (Broder 1997, "On the resemblance and
containment of documents").

    shingler = Shingler(size=5, unit="word")
    for text in texts: shingler.add(text)
    shingles = shingler.finish()

A word is what stands between spaces, with its punctuation and case. A text shorter than a shingle is one shingle, the
whole of it. A shingle is kept as 64 bits: polynomials modulo 2^64 of bytes into words and of words into shingles, with
a random code for every byte and a mixing step after each (Karp and Rabin 1987; Lemire and Kaser 2010, arXiv 0705.4676).
Among the thousands of shingles of a pair of texts no two differ and share a hash by accident; an adversary who knows
the constants can make some.

Costs 8 bytes a shingle and about 0.1 microseconds: no word becomes a Python object.

Shapes: T texts, S shingles with repetitions, U units (words or characters), Y bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Unit = Literal["word", "character"]
LARGEST_SHINGLE: Final = 1000

_FILLER: Final = "\x1f"  # white space to Python, so never in a normalized text
_CHUNK_CHARACTERS: Final = 1 << 17  # hashed at a time: a few arrays of 1 MB, which stay in the cache
_MULTIPLIER: Final = 0x9E3779B97F4A7C15  # odd, so it has an inverse
_INVERSE: Final = pow(_MULTIPLIER, -1, 1 << 64)


@dataclass(frozen=True)
class Shingles:
    """Hashed shingles of texts, one text after the other, in the order of the text and with its repetitions."""

    hashes: NDArray[np.uint64]  # (S,)
    offsets: NDArray[np.int64]  # (T + 1,); text t has hashes[offsets[t] : offsets[t + 1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: NDArray[np.int64]) -> "Shingles":
        """The shingles of some texts, in the order of `rows`."""
        counts = np.diff(self.offsets)[rows]
        offsets = _offsets(counts)
        source = np.repeat(self.offsets[rows] - offsets[:-1], counts)
        source += np.arange(len(source))
        return Shingles(self.hashes[source], offsets)

    def slice(self, start: int, stop: int) -> "Shingles":
        """The shingles of texts start to stop, without copying the hashes."""
        offsets = self.offsets[start : min(stop, len(self)) + 1]
        return Shingles(self.hashes[offsets[0] : offsets[-1]], offsets - offsets[0])

    def sets(self) -> Any:
        """A scipy CSR array of T rows whose columns are the shingles, sorted and without repetition; every value is 1.

        Columns are the upper 63 bits of a hash: scipy's indices are signed.
        """
        from scipy.sparse import csr_array

        columns = (self.hashes >> np.uint64(1)).view(np.int64)
        values = np.ones(len(columns), dtype=np.int8)
        sets = csr_array((values, columns, self.offsets), shape=(len(self), np.iinfo(np.int64).max))
        sets.sum_duplicates()
        sets.data[:] = 1
        return sets


class Shingler:
    """Collects texts and hashes their shingles, a chunk of texts at a time."""

    def __init__(self, size: int, unit: Unit) -> None:
        self.size = size
        self.unit = unit
        self._texts: list[str] = []
        self._characters = 0
        self._powers = _Powers()
        self._hashes: list[NDArray[np.uint64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._added = 0

    def __len__(self) -> int:
        """Texts that were added."""
        return self._added

    def add(self, text: str) -> None:
        """Takes one more text, in the form that `subsets.rules.exact.normalized` gives it: one space between words.

        A text shorter than a shingle is filled up with what no such text has: empty words, or a control character.
        """
        if self.unit == "word":
            text += " " * (self.size - 1 - text.count(" "))
        else:
            text = text.ljust(self.size, _FILLER)
        self._texts.append(text)
        self._characters += len(text)
        self._added += 1
        if self._characters >= _CHUNK_CHARACTERS:
            self._flush()

    def finish(self) -> Shingles:
        """The shingles of all texts, in the order in which they were added."""
        self._flush()
        hashes = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        counts = np.concatenate([np.empty(0, np.int64), *self._counts])
        self._hashes, self._counts = [], []
        return Shingles(hashes, _offsets(counts))

    def _flush(self) -> None:
        if not self._texts:
            return
        units, lengths = _words(self._texts, self._powers) if self.unit == "word" else _characters(self._texts)
        starts = len(units) - self.size + 1
        hashes = polynomial(units[position : position + starts] for position in range(self.size))
        self._hashes.append(hashes[_inside(lengths, self.size)])
        self._counts.append(lengths - self.size + 1)
        self._texts, self._characters = [], 0


class _Powers:
    """Powers of the multiplier and of its inverse modulo 2^64, as many as were needed so far."""

    def __init__(self) -> None:
        self.up = self.down = np.ones(1, dtype=np.uint64)

    def reach(self, count: int) -> None:
        if count > len(self.up):
            self.up, self.down = (
                np.multiply.accumulate(np.append(np.uint64(1), np.full(count - 1, factor, dtype=np.uint64)))
                for factor in (_MULTIPLIER, _INVERSE)
            )


def _words(texts: list[str], powers: _Powers) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(U,) the hash of every word, and (T,) the number of words of each text.

    A word's polynomial, the sum over its bytes of code(byte k) m^k, is read off one running sum over all texts: the
    difference between the word's ends, divided by m^start.
    """
    joined = np.frombuffer(("\n".join(texts) + "\n").encode(), dtype=np.uint8)  # (Y,)
    powers.reach(len(joined))
    sums = np.zeros(len(joined) + 1, dtype=np.uint64)  # of the bytes before each
    np.cumsum(_BYTE_CODES[joined] * powers.up[: len(joined)], out=sums[1:])
    ends = np.flatnonzero((joined == ord(" ")) | (joined == ord("\n")))
    starts = np.append(0, ends[:-1] + 1)
    last = np.flatnonzero(joined[ends] == ord("\n"))  # the last word of each text
    return mixed((sums[ends] - sums[starts]) * powers.down[starts]), np.diff(last, prepend=-1)


def _characters(texts: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(U,) the hash of every character, and (T,) the length of each text."""
    joined = "".join(texts).encode("utf-32-le")
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    return mixed(np.frombuffer(joined, dtype="<u4").astype(np.uint64)), lengths


def _inside(lengths: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Which runs of `size` units lie within one text; `lengths` are those of the texts, in units."""
    inside = np.ones(int(lengths.sum()) - size + 1, dtype=bool)
    ends = np.cumsum(lengths)
    for back in range(1, size):
        crossing = ends[:-1] - back
        inside[crossing] = False
    return inside


def polynomial(terms: Iterable[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """Several hashes into one, order included: a polynomial of the terms modulo 2^64, mixed."""
    total: Any = np.uint64(0)
    for term in terms:
        total = total * np.uint64(_MULTIPLIER) + term
    return mixed(total)


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): a bijection in which every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


_BYTE_CODES: Final = mixed(np.arange(1, 257, dtype=np.uint64))
