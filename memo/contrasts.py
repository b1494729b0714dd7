"""From the coins of a design to the two sides of a score.

An estimator takes `(losses, treated, valid)`. A set of documents that is a unit of the design has a coin of its own:
the splits in which it was flipped count, and nothing else does. For any other set a split counts where the set is whole
in or whole out *by coins that decided nothing else*: a document that came in together with documents outside the set
tells about them as well.

Shapes: M splits, L levels, N documents, U units, S sets, R rows of the sets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.groups import Groups, Index
from memo.units import Units

Bools = NDArray[np.bool_]
NOT_DECIDED = "never decided alone: flips its coin together with documents outside this group"
NOT_WHOLE = "in no split whole by coins of its own"


@dataclass(frozen=True)
class Contrast:
    """Which splits count for each set, and on which side."""

    treated: Bools  # (M, S)
    valid: Bools  # (M, S)
    reason: NDArray[np.object_]  # (S,) why a set has no score, else None


def contrast(asked: Bools, treated: Bools, units: Units, groups: Groups) -> Contrast:
    """The contrast of every group. asked, treated: (M, U)."""
    shape = (len(asked), len(groups.ids))
    in_side, valid = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    inside = _inside(units, groups)
    own = _own_unit(units, groups, inside)
    has_own = own >= 0
    in_side[:, has_own], valid[:, has_own] = treated[:, own[has_own]], asked[:, own[has_own]]
    others = np.flatnonzero(~has_own)
    if len(others):
        rows = np.flatnonzero(~has_own[groups.group])
        for split in range(shape[0]):  # one split at a time: M x R would not fit for a large campaign
            whole_in, counts = _whole(asked[split], treated[split], units, groups, inside, rows)
            in_side[split, others], valid[split, others] = whole_in[others], counts[others]
    reason = np.full(shape[1], None, dtype=object)
    never = ~has_own & ~valid.any(axis=0)
    reason[never] = NOT_WHOLE
    possible = np.bincount(groups.group, weights=inside.any(axis=0), minlength=shape[1]) == groups.sizes
    reason[~possible] = NOT_DECIDED
    return Contrast(in_side, valid, reason)


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
