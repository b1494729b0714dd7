"""Which pairs of texts are worth comparing: MinHash signatures from rensa, cut into bands (locality-sensitive hashing).

Two texts are a *candidate pair* when all rows of some band of their signatures agree. A slot agrees with probability
J, the Jaccard similarity of their shingle sets (Broder 1997), so a pair becomes a candidate with probability

    recall(J) = 1 - (1 - J^rows)^bands            Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.4

`plan` takes the most rows, that is the fewest candidates, for which recall at the threshold is at least 0.98; a pair
above the threshold is found more surely still. Signatures are rensa's R-MinHash, algorithm 2, which fills the slots
from a few rounds of hashing (after Dahlgaard, Knudsen and Thorup 2017, arXiv 1704.04370) instead of one hash function
a slot. Its slots are not quite independent, to our advantage: of 10,000 pairs at 0.7, with 10 to 1000 shingles, 0.991
to 0.994 were proposed where the formula says 0.990 (tests/benchmarks).

Reading a signature into Python costs ten times what making it does, so rensa first says which texts share a band with
any other; only those are read. Peak: 8 bytes a shingle for a copy that rensa takes and 4 bytes a slot.

Shapes: T texts, P permutations (slots of a signature), B bands of R rows, P = B R.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from memo.errors import RuleError
from subsets.shingles import Shingles, polynomial

if TYPE_CHECKING:
    from rensa import RMinHashDigestMatrix

RECALL: Final = 0.98  # least probability that a pair exactly at the threshold becomes a candidate
_CHUNK_TEXTS: Final = 4096  # signatures that are Python integers at a time: 20 MB at 128 permutations


@dataclass(frozen=True)
class Plan:
    """A signature of bands x rows slots."""

    bands: int
    rows: int

    @property
    def permutations(self) -> int:
        return self.bands * self.rows

    def recall(self, similarity: float) -> float:
        """Probability that two texts of this Jaccard similarity become a candidate pair."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def plan(threshold: float, permutations: int) -> Plan:
    """The bands and rows for a threshold, within a number of permutations; a RuleError where it cannot be done."""
    for rows in range(permutations, 0, -1):
        found = Plan(permutations // rows, rows)
        if found.recall(threshold) >= RECALL:
            return found
    needed = int(np.ceil(np.log(1 - RECALL) / np.log1p(-threshold)))
    raise RuleError(
        f"rule 'near_duplicate': expected at least {needed} permutations, with which {RECALL:.0%} of the pairs at the "
        f"threshold {threshold:g} are found, found {permutations}; set permutations, or a higher threshold"
    )


def colliding(shingles: Shingles, plan: Plan, seed: int) -> NDArray[np.int64]:
    """The texts that share a band with another one, in order. No pair is lost: rensa compares every band."""
    from rensa import RMinHashLSH

    if len(shingles) < 2:
        return np.empty(0, np.int64)
    # The threshold belongs to a method that is not used here; bands and permutations alone decide.
    index = RMinHashLSH(threshold=0.5, num_perm=plan.permutations, num_bands=plan.bands)
    return np.flatnonzero(index.query_duplicate_flags_matrix_one_shot(_signatures(shingles, plan, seed)))


def band_keys(shingles: Shingles, plan: Plan, seed: int) -> NDArray[np.uint32]:
    """(T, B): texts with the same key in a column agree in that band.

    32 bits: a million texts make about a hundred accidental pairs a band, which are compared and dropped as others are.
    """
    keys = np.empty((len(shingles), plan.bands), dtype=np.uint32)
    for start in range(0, len(shingles), _CHUNK_TEXTS):
        rows = _signatures(shingles.slice(start, start + _CHUNK_TEXTS), plan, seed).to_rows()
        slots = np.array(rows, dtype=np.uint64).reshape(len(rows), plan.bands, plan.rows)  # (chunk, B, R)
        keys[start : start + len(rows)] = polynomial(slots[:, :, row] for row in range(plan.rows)) >> np.uint64(32)
    return keys


def signatures(shingles: Shingles, plan: Plan, seed: int) -> NDArray[np.uint32]:
    """(T, P): the signatures themselves, for those who study them."""
    return np.array(_signatures(shingles, plan, seed).to_rows(), dtype=np.uint32).reshape(-1, plan.permutations)


def _signatures(shingles: Shingles, plan: Plan, seed: int) -> "RMinHashDigestMatrix":
    from rensa import RMinHash

    offsets = shingles.offsets.astype(np.uint64)
    return RMinHash.digest_matrix_from_flat_token_hashes(shingles.hashes, offsets, plan.permutations, seed)


def buckets(keys: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(T,) keys of one band -> the texts that share a key, bucket by bucket, and the number of the bucket of each."""
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]  # as the text before
    first, last = np.append(True, ~same), np.append(~same, True)
    shared = ~(first & last)[: len(keys)]
    return order[shared], np.cumsum(first[: len(keys)][shared]) - 1
