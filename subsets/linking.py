"""Connected components of the pairs that share a bucket and whose exact Jaccard similarity reaches the threshold.

    sets = ShingleSets(shingles.sets())
    components = Components(sets, threshold, keys)
    components.link_all()
    components.labels                       # the smallest member of each text's component

The answer is that of comparing every pair in every bucket; pairs that cannot change it are left out:

- texts that are connected already (a bucket of near-identical texts is settled by comparing each with one of them, so
  it costs as many comparisons as it has members, not their square);
- pairs that shared an earlier band, and are not connected: they were compared there and are below the threshold;
- pairs whose similarity a bitmap proves too small (Sandes, Teodoro and Melo 2020, "Bitmap filter: Speeding up exact set
  similarity joins with bitwise operations"): a bit of 512 a shingle; sets that differ in d bits differ in d shingles or
  more. It never drops a pair that reaches the threshold;
- in a bucket of 256 or more, pairs without a rare shingle in common, where that is fewer (`subsets.prefix_join`).

The limit: m texts in one bucket cost m^2 / 2 looks at the bitmaps, 0.1 microseconds each, where they stay in different
components and have rare shingles in common. Measured: 20,000 variants of one text whose similarities lie around the
threshold 15 s; 100,000 above it 15 s (one component); a form filled in 10,000 ways, every pair at 0.68 of 0.7, 2 s.

Shapes: T texts, B bands, N pairs.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from subsets.banding import buckets
from subsets.prefix_join import CHUNK_PAIRS, Positions, PrefixJoin, by_volume, position_pairs

_BITMAP_WORDS: Final = 8  # of 64 bits a set
_CHUNK_SHINGLES: Final = 1 << 21  # intersected together
_CHUNK_TEXTS: Final = 1 << 15
_LARGE_BUCKET: Final = 16  # from here on a few members are compared with all, before every pair is
_ROUNDS: Final = 4
_JOINED_BUCKET: Final = 256
_ALL_PAIRS: Final = 32  # components up to this size are searched whole for a pair below the threshold
_SAMPLED: Final = 16  # pairs a member, in larger ones


class ShingleSets:
    """Sets of shingles that are compared in bulk."""

    def __init__(self, sets: Any) -> None:
        """`sets`: what `Shingles.sets` returns, T rows."""
        self._sets = sets
        self.sizes: Positions = np.diff(sets.indptr).astype(np.int64)
        self._bitmaps = np.concatenate(
            [np.empty((0, _BITMAP_WORDS), np.uint64)]
            + [self._bitmap(start) for start in range(0, len(self.sizes), _CHUNK_TEXTS)]
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def rows(self, members: Positions) -> Any:
        """The sets of some texts, as a CSR array."""
        return self._sets[members]

    def may_reach(self, left: Positions, right: Positions, threshold: float) -> NDArray[np.bool_]:
        """(N,): false where the bitmaps prove that the similarity of a pair is below the threshold."""
        sizes = self.sizes[left] + self.sizes[right]
        differing = np.bitwise_count(self._bitmaps[left] ^ self._bitmaps[right]).sum(axis=1, dtype=np.int64)
        most = np.minimum((sizes - differing) // 2, np.minimum(self.sizes[left], self.sizes[right]))
        return most / (sizes - most) >= threshold

    def reach(self, left: Positions, right: Positions, threshold: float) -> NDArray[np.bool_]:
        """(N,): whether the Jaccard similarity of each pair, |A n B| / |A u B|, is the threshold or more."""
        sizes = self.sizes[left] + self.sizes[right]
        found = np.empty(len(left), dtype=bool)
        for part in by_volume(np.arange(len(left)), sizes, _CHUNK_SHINGLES):
            product = self._sets[left[part]].multiply(self._sets[right[part]])
            common = np.diff(product.tocsr().indptr)
            found[part] = common / (sizes[part] - common) >= threshold
        return found

    def _bitmap(self, start: int) -> NDArray[np.uint64]:
        """A set's bitmap is the exclusive or of one bit a shingle."""
        offsets = self._sets.indptr[start : start + _CHUNK_TEXTS + 1]
        counts = np.diff(offsets)
        columns = self._sets.indices[offsets[0] : offsets[-1]]
        bitmap = np.zeros((len(counts), _BITMAP_WORDS), np.uint64)
        bits = np.uint64(1) << (columns & 63).astype(np.uint64)
        words = (columns >> 6) % _BITMAP_WORDS + np.repeat(np.arange(len(counts)) * _BITMAP_WORDS, counts)
        np.bitwise_xor.at(bitmap.reshape(-1), words, bits)
        return bitmap


class Components:
    """Texts joined by verified pairs."""

    def __init__(self, sets: ShingleSets, threshold: float, keys: NDArray[np.uint32]) -> None:
        """`keys`: (T, B) of `band_keys`."""
        self.labels: Positions = np.arange(len(sets))  # (T,) the smallest member of the component
        self.candidate_pairs = 0  # pairs in buckets, once for each band they share
        self.examined_pairs = 0  # those not connected yet; a few of a large bucket count again
        self.compared_pairs = 0  # those whose similarity was computed: a bitmap left it open
        self.verified_pairs = 0  # those at or above the threshold
        self._sets, self._threshold, self._keys = sets, threshold, keys

    def link_all(self) -> None:
        """Band by band, so that a later band finds most of its buckets settled."""
        for band in range(self._keys.shape[1]):
            members, bucket = buckets(self._keys[:, band])
            sizes = np.bincount(bucket)
            self.candidate_pairs += int((sizes * (sizes - 1) // 2).sum())
            self._link_band(members, bucket, band)

    def _link_band(self, members: Positions, bucket: Positions, band: int) -> None:
        random = np.random.default_rng(band)  # decides the order of comparisons, never their outcome
        for _ in range(_ROUNDS):
            large = np.bincount(bucket, minlength=1)[bucket] >= _LARGE_BUCKET
            some, theirs = self._unsettled(members[large], bucket[large])
            if not len(some):
                break
            hubs = self._hubs(some, theirs, random)
            for start in range(0, len(some), CHUNK_PAIRS):
                self._link(hubs[start : start + CHUNK_PAIRS], some[start : start + CHUNK_PAIRS], band)
        members, bucket = self._unsettled(members, bucket)
        if not len(members):
            return
        size = np.bincount(bucket, minlength=1)[bucket]
        small = size < _JOINED_BUCKET
        self._link_crossing(members[small], bucket[small], band)
        for number in np.unique(bucket[~small]):
            self._link_large(members[bucket == number], band)

    def _link_large(self, members: Positions, band: int) -> None:
        """One large bucket: the pairs that share a rare shingle, where these are fewer than all pairs."""
        join = PrefixJoin(self._sets.rows(members), self._threshold)
        labels = self.labels[members]
        if join.count >= (len(members) - _run_ends(labels)).sum():
            self._link_crossing(members, np.zeros_like(members), band)
            return
        for left, right in join.pairs():
            pairs = np.unique(left * len(members) + right)
            self._link(members[pairs // len(members)], members[pairs % len(members)], band)

    def _link_crossing(self, members: Positions, bucket: Positions, band: int) -> None:
        """Every pair that crosses between two components of a bucket; members are sorted by bucket and component."""
        for left, right in position_pairs(_run_ends(bucket, self.labels[members]), _run_ends(bucket)):
            self._link(members[left], members[right], band)

    def _unsettled(self, members: Positions, bucket: Positions) -> tuple[Positions, Positions]:
        """The buckets that hold more than one component; their members sorted by bucket and component."""
        order = np.lexsort((self.labels[members], bucket))
        members, bucket = members[order], bucket[order]
        ends = _run_ends(bucket)
        first = np.searchsorted(bucket, bucket)
        unsettled = self.labels[members[first]] != self.labels[members[ends - 1]]
        return members[unsettled], bucket[unsettled]

    def _hubs(self, members: Positions, bucket: Positions, random: np.random.Generator) -> Positions:
        """For each member the one its bucket is compared with: one at random of the bucket's largest component."""
        labels = self.labels[members]
        run_size = _run_ends(bucket, labels) - _run_starts(bucket, labels)
        order = np.lexsort((random.random(len(members)), run_size, bucket))
        return members[order[_run_ends(bucket) - 1]]

    def _link(self, left: Positions, right: Positions, band: int) -> None:
        """Compares pairs that share a band, and joins the components of those at or above the threshold."""
        apart = self.labels[left] != self.labels[right]
        left, right = left[apart], right[apart]
        self.examined_pairs += len(left)
        possible = self._sets.may_reach(left, right, self._threshold)
        left, right = left[possible], right[possible]
        known = (self._keys[left, :band] == self._keys[right, :band]).any(axis=1)
        left, right = left[~known], right[~known]
        self.compared_pairs += len(left)
        similar = self._sets.reach(left, right, self._threshold)
        self.verified_pairs += int(similar.sum())
        if similar.any():
            self._join(self.labels[left[similar]], self.labels[right[similar]])

    def _join(self, left: Positions, right: Positions) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        nodes, numbers = np.unique(np.concatenate([left, right]), return_inverse=True)
        edges = (np.ones(len(left), np.int8), (numbers[: len(left)], numbers[len(left) :]))
        _, component = connected_components(coo_array(edges, shape=(len(nodes), len(nodes))), directed=False)
        _, smallest = np.unique(component, return_index=True)  # nodes are sorted
        renamed = np.arange(len(self.labels))
        renamed[nodes] = nodes[smallest][component]
        self.labels = renamed[self.labels]

    def chains(self) -> tuple[int, int]:
        """Components with a pair below the threshold (A like B, B like C, A unlike C), and those that may be.

        Up to 32 members every pair is looked at. Beyond, 16 pairs a member drawn at random, and the smallest set with
        the largest; where none of these is below the threshold the component is counted as one that may be a chain.
        """
        order = np.lexsort((self._sets.sizes, self.labels))
        labels = self.labels[order]
        starts, ends = _run_starts(labels), _run_ends(labels)
        size = ends - starts
        chained = np.zeros(len(labels), dtype=bool)  # by label
        small = np.where((size > 2) & (size <= _ALL_PAIRS), ends, 0)
        for left, right in position_pairs(np.arange(1, len(labels) + 1), small):
            self._mark(chained, order[left], order[right])
        large = size > _ALL_PAIRS
        self._mark(chained, order[starts[large]], order[ends[large] - 1])
        random = np.random.default_rng(0)
        for _ in range(_SAMPLED):
            left = np.flatnonzero(large & ~chained[labels])
            right = random.integers(starts[left], ends[left])
            self._mark(chained, order[left], order[right])
        unsettled = np.unique(labels[large & ~chained[labels]])
        return int(chained.sum()), len(unsettled)

    def _mark(self, chained: NDArray[np.bool_], left: Positions, right: Positions) -> None:
        for start in range(0, len(left), CHUNK_PAIRS):
            some, others = left[start : start + CHUNK_PAIRS], right[start : start + CHUNK_PAIRS]
            open_ = ~chained[self.labels[some]]
            some, others = some[open_], others[open_]
            possible = self._sets.may_reach(some, others, self._threshold)
            chained[self.labels[some[~possible]]] = True
            some, others = some[possible], others[possible]
            below = ~self._sets.reach(some, others, self._threshold)
            chained[self.labels[some[below]]] = True


def _run_starts(*keys: Positions) -> Positions:
    """For each position where its run of equal keys begins; keys are sorted, the first one first."""
    changes = _changes(keys)
    return np.flatnonzero(changes)[np.cumsum(changes) - 1] if len(changes) else np.empty(0, np.int64)


def _run_ends(*keys: Positions) -> Positions:
    """For each position where its run of equal keys ends, exclusive."""
    changes = _changes(keys)
    bounds = np.append(np.flatnonzero(changes), len(changes))
    return bounds[np.cumsum(changes)]


def _changes(keys: tuple[Positions, ...]) -> NDArray[np.bool_]:
    changes = np.ones(len(keys[0]), dtype=bool)
    changes[1:] = False
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    return changes
