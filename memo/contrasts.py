"""From the coins of a design to the two sides of a score.

An estimator takes `(losses, treated, valid)`. A set of documents that is a unit of the design has a coin of its own:
the splits in which it was flipped count, and nothing else does. For any other set a split counts where the set is whole
in or whole out *by coins that decided nothing else*: a document that came in together with documents outside the set
tells about them as well.

Shapes: M splits, L levels, N documents, U units, S sets, R rows of the sets.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.groups import Groups, Index
from memo.units import Units

Bools = NDArray[np.bool_]
Bits = NDArray[np.uint8]
NOT_DECIDED = "never decided alone: flips its coin together with documents outside this group"
NOT_WHOLE = "in no split whole by coins of its own"
SPLITS_AT_A_TIME = 16  # unpacked; an imported campaign may have all of its splits in one block


@dataclass(frozen=True)
class Contrast:
    """Which splits count for each set, and on which side."""

    treated: Bools  # (M, S)
    valid: Bools  # (M, S)
    reason: NDArray[np.object_]  # (S,) why a set has no score, else None

    def sides(self, splits: slice, sets: slice | Index) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
        """treated and valid of these splits and sets: (b, s) each; None where every split counts."""
        valid = self.valid[splits, sets]
        return self.treated[splits, sets], None if valid.all() else valid


@dataclass(frozen=True)
class PackedContrast:
    """The same, bit-packed along the sets: an eighth of the memory, and what is asked for is unpacked."""

    treated: Bits  # (M, S / 8)
    valid: Bits | None  # (M, S / 8); None where every split counts for every set
    reason: NDArray[np.object_]  # (S,)

    def sides(self, splits: slice, sets: slice | Index) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
        """As of a `Contrast`, as bytes 0 and 1."""
        valid = None if self.valid is None else _unpacked(self.valid[splits], sets)
        return _unpacked(self.treated[splits], sets), valid

    def part(self, sets: slice) -> "PackedContrast":
        """Of a range of sets that begins at a multiple of 8; without reasons. A view."""
        columns = slice(sets.start // 8, -(-sets.stop // 8))
        valid = None if self.valid is None else self.valid[:, columns]
        return PackedContrast(self.treated[:, columns], valid, self.reason[:0])


def contrast(asked: Bools, treated: Bools, units: Units, groups: Groups) -> Contrast:
    """The contrast of every group. asked, treated: (M, U)."""
    coins = _Coins.of(units, groups)
    in_side, valid = coins.sides(asked, treated)
    return Contrast(in_side, valid, coins.reasons(valid.any(axis=0)))


def packed_contrast(decisions: Iterable[tuple[Bits, Bits]], units: Units, groups: Groups) -> PackedContrast:
    """The contrast of every group, from asked and treated (b, U / 8) of one block of splits after another."""
    if _is_level(units, groups):  # the sets are the units: their coins lie on disk as they are needed
        pairs = list(decisions)
        full = np.packbits(np.ones(units.count, dtype=bool))
        always = all((asked == full).all() for asked, _ in pairs)
        treated = np.concatenate([treated for _, treated in pairs])
        reason = np.full(len(groups.ids), None, dtype=object)
        return PackedContrast(treated, None if always else np.concatenate([asked for asked, _ in pairs]), reason)
    coins = _Coins.of(units, groups)
    some, sides = np.zeros(len(groups.ids), dtype=bool), []
    for asked, treated in decisions:
        for start in range(0, len(asked), SPLITS_AT_A_TIME):
            packed = (bits[start : start + SPLITS_AT_A_TIME] for bits in (asked, treated))
            coins_of = (np.unpackbits(bits, axis=1, count=units.count).view(bool) for bits in packed)
            in_side, valid = coins.sides(*coins_of)
            some |= valid.any(axis=0)
            sides.append((np.packbits(in_side, axis=1), np.packbits(valid, axis=1)))
    in_bits, valid_bits = (np.concatenate([side[kind] for side in sides]) for kind in (0, 1))
    return PackedContrast(in_bits, valid_bits, coins.reasons(some))


def _unpacked(bits: Bits, sets: slice | Index) -> NDArray[np.uint8]:
    """(b, s) the bits of these sets, a byte each."""
    if isinstance(sets, slice):
        first = sets.start // 8
        return np.unpackbits(bits[:, first : -(-sets.stop // 8)], axis=1)[:, sets.start - 8 * first :][
            :, : sets.stop - sets.start
        ]
    found: NDArray[np.uint8] = np.take(bits, sets >> 3, axis=1)
    found >>= (7 - (sets & 7)).astype(np.uint8)
    found &= 1
    return found


def _is_level(units: Units, groups: Groups) -> bool:
    """Whether the design has one level, and set number s is unit number s."""
    return (
        len(units.chain) == 1
        and len(groups.ids) == units.count
        and np.array_equal(groups.document, np.arange(units.chain.shape[1]))
        and np.array_equal(groups.group, units.chain[0])
    )


@dataclass(frozen=True)
class _Coins:
    """Which coins decide each set; the same for every split."""

    units: Units
    groups: Groups
    inside: Bools  # (L, R)
    own: Index  # (S,)

    @classmethod
    def of(cls, units: Units, groups: Groups) -> "_Coins":
        inside = _inside(units, groups)
        return cls(units, groups, inside, _own_unit(units, groups, inside))

    def sides(self, asked: Bools, treated: Bools) -> tuple[Bools, Bools]:
        """Treated and valid, (b, S) each, from decisions (b, U)."""
        shape = (len(asked), len(self.groups.ids))
        in_side, valid = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        has_own = self.own >= 0
        in_side[:, has_own], valid[:, has_own] = treated[:, self.own[has_own]], asked[:, self.own[has_own]]
        others = np.flatnonzero(~has_own)
        if len(others):
            rows = np.flatnonzero(~has_own[self.groups.group])
            for split in range(shape[0]):  # one split at a time: M x R would not fit for a large campaign
                whole_in, counts = _whole(asked[split], treated[split], self.units, self.groups, self.inside, rows)
                in_side[split, others], valid[split, others] = whole_in[others], counts[others]
        return in_side, valid

    def reasons(self, some: NDArray[np.bool_] | np.bool_) -> NDArray[np.object_]:
        """(S,) why a set has no score. some: (S,) True where a split counts for it."""
        reason = np.full(len(self.groups.ids), None, dtype=object)
        reason[(self.own < 0) & ~some] = NOT_WHOLE
        within = np.bincount(self.groups.group, weights=self.inside.any(axis=0), minlength=len(reason))
        reason[within != self.groups.sizes] = NOT_DECIDED
        return reason


def _inside(units: Units, groups: Groups) -> Bools:
    """(L, R) True where the unit of the row's document on this level lies within the row's group."""
    inside = np.zeros((len(units.chain), len(groups.document)), dtype=bool)
    for level, chain in enumerate(units.chain):
        pair = groups.group * units.count + chain[groups.document]
        _, inverse, count = np.unique(pair, return_inverse=True, return_counts=True)
        inside[level] = count[inverse] == units.sizes[chain[groups.document]]
    return inside


def _own_unit(units: Units, groups: Groups, inside: Bools) -> Index:
    """(S,) the unit that has exactly the documents of the group, or -1."""
    own = np.full(len(groups.ids), -1, dtype=np.int64)
    for level, chain in enumerate(units.chain):
        unit = chain[groups.document]
        fits = inside[level] & (units.sizes[unit] == groups.sizes[groups.group])
        own[groups.group[fits]] = unit[fits]
    return own


def _whole(
    asked: Bools, treated: Bools, units: Units, groups: Groups, inside: Bools, rows: Index
) -> tuple[Bools, Bools]:
    """Whole in, and whole in or out by coins of its own: (S,) each, of one split."""
    level = units.deciding_level(asked)[groups.document[rows]]  # (r,)
    included = treated[units.chain[level, groups.document[rows]]]
    alone = inside[level, rows] & (level >= 0)
    group, number = groups.group[rows], len(groups.ids)
    present = np.bincount(group, weights=included, minlength=number)
    apart = np.bincount(group, weights=alone, minlength=number) == groups.sizes
    whole_in = present == groups.sizes
    return whole_in, apart & (whole_in | (present == 0))
