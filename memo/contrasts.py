"""From the coins of a design to the two sides of a score.

An estimator takes `(losses, treated, valid)`. For a set of documents a split counts (`valid`) where the set is whole in
or whole out, and is on the in side (`treated`) where it is whole in. A set that cuts a unit, so that some of its
documents can only move together with documents outside it, was never decided by coins of its own and has no score.

Shapes: M splits, N documents, U units, S sets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.groups import Groups, Index

Bools = NDArray[np.bool_]
NOT_DECIDED = "never decided alone: flips its coin together with documents outside this group"


@dataclass(frozen=True)
class Contrast:
    """Which splits count for each set, and on which side."""

    treated: Bools  # (M, S)
    valid: Bools  # (M, S)
    reason: NDArray[np.object_]  # (S,) why a set has no score, else None


def contrast(included: Bools, unit_of: Index, groups: Groups) -> Contrast:
    """The contrast of every group. included: (M, N); unit_of: (N,)."""
    shape = (len(included), len(groups.ids))
    treated, valid = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for split, row in enumerate(included):  # one split at a time: M x R would not fit for a large campaign
        present = np.bincount(groups.group[row[groups.document]], minlength=shape[1])
        treated[split] = present == groups.sizes
        valid[split] = treated[split] | (present == 0)
    cut = _cuts_a_unit(unit_of, groups)
    valid[:, cut] = False
    reason = np.full(shape[1], None, dtype=object)
    reason[cut] = NOT_DECIDED
    return Contrast(treated, valid, reason)


def _cuts_a_unit(unit_of: Index, groups: Groups) -> Bools:
    """(S,) True where the set holds some but not all documents of a unit."""
    unit_sizes = np.bincount(unit_of)
    pair, count = np.unique(groups.group * len(unit_sizes) + unit_of[groups.document], return_counts=True)
    group, unit = np.divmod(pair, len(unit_sizes))
    cut = np.zeros(len(groups.ids), dtype=bool)
    cut[group[count < unit_sizes[unit]]] = True
    return cut
