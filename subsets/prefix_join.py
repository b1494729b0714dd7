"""Pairs of sets that may reach a Jaccard similarity, found by a rare shingle that they share: exact, no pair is lost.

Order the shingles from the rarest to the most common. Two sets with a similarity of t or more have so many in common
that they share one among the first few of each (Chaudhuri, Ganti and Kaushik 2006, "A primitive operator for similarity
joins"; lengths as in Xiao, Wang, Lin and Yu 2008, "Efficient similarity joins for near duplicate detection"):

    |A n B| >= t |B|  and  |A n B| >= 2t / (1 + t) |A|   where |A| <= |B|
    first in B: |B| - ceil(t |B|) + 1                    first in A: |A| - ceil(2t / (1 + t) |A|) + 1

It pays where many texts have most of their shingles in common, a form that is filled in for instance, and are still
below the threshold: what they share is common, so it is not looked at.

Shapes: M sets, S shingles of all of them.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

CHUNK_PAIRS: Final = 1 << 17  # looked at together
_ROUNDING: Final = 1e-9  # a longer prefix is always right


class PrefixJoin:
    """The pairs of some sets that share a shingle among the first of each."""

    def __init__(self, sets: Any, threshold: float) -> None:
        """`sets`: a CSR array of M rows, columns sorted."""
        sizes = np.diff(sets.indptr).astype(np.int64)
        by_size = np.argsort(sizes, kind="stable")
        rank = np.empty_like(by_size)
        rank[by_size] = np.arange(len(by_size))
        rows = np.repeat(rank, sizes)  # (S,) smaller sets first
        _, token, counts = np.unique(sets.indices, return_inverse=True, return_counts=True)
        order = np.lexsort((token, counts[token], rows))
        rows, token = rows[order], token[order]
        sizes = sizes[by_size]
        place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        indexed = place < _first(sizes, 2 * threshold / (1 + threshold))[rows]
        probing = place < _first(sizes, threshold)[rows]
        keys = np.sort(token[indexed] * len(sizes) + rows[indexed])
        start = token[probing] * len(sizes)
        self._by_size = by_size
        self._indexed: Positions = keys % max(len(sizes), 1)
        self._probing: Positions = rows[probing]
        self._lows = np.searchsorted(keys, start)
        self._highs = np.searchsorted(keys, start + rows[probing])

    @property
    def count(self) -> int:
        """Pairs, once for every shingle they share so."""
        return int((self._highs - self._lows).sum())

    def pairs(self) -> Iterator[tuple[Positions, Positions]]:
        """Rows of pairs, in chunks; a pair may come again."""
        for probe, found in position_pairs(self._lows, self._highs):
            yield self._by_size[self._probing[probe]], self._by_size[self._indexed[found]]


def _first(sizes: Positions, share: float) -> Positions:
    return sizes - np.ceil(share * sizes - _ROUNDING).astype(np.int64) + 1


def position_pairs(lows: Positions, highs: Positions) -> Iterator[tuple[Positions, Positions]]:
    """Every pair of position i with a position from lows[i] to highs[i], in chunks."""
    counts = np.maximum(highs - lows, 0)
    for part in by_volume(np.arange(len(counts)), counts, CHUNK_PAIRS):
        count = counts[part]
        ends = np.cumsum(count)
        left = np.repeat(part, count)
        right = np.arange(len(left)) + np.repeat(lows[part] - (ends - count), count)
        for start in range(0, len(right), CHUNK_PAIRS):
            yield left[start : start + CHUNK_PAIRS], right[start : start + CHUNK_PAIRS]


def by_volume(items: Positions, volumes: Positions, most: int) -> Iterator[Positions]:
    """Consecutive items whose volumes add up to about `most`; at least one item each time."""
    cuts = np.flatnonzero(np.diff(np.cumsum(volumes) // most)) + 1
    yield from (part for part in np.split(items, cuts) if len(part))
