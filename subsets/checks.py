"""What must hold for the splits on disk before the first model is trained on them."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memo.design_settings import SMALLEST_CELL, Design
from memo.errors import DamagedError, UsageError
from memo.groups import Index
from memo.sets import Sets
from memo.splits import Block
from memo.units import Units
from subsets.designs.base import counts
from subsets.designs.copies import check_copies
from subsets.designs.knockout import check_removed, rarest_cell
from subsets.designs.resolution import Resolution, smallest_side

SMALLEST_CORPUS = 2


def check_enough_documents(units: Units) -> None:
    """Refuses a corpus whose splits would be empty. Raises `UsageError` with the arithmetic."""
    documents, coarsest = units.chain.shape[1], len(np.unique(units.chain[-1]))
    if coarsest < SMALLEST_CORPUS:
        what = f"{documents} documents in {coarsest} group of {units.names[-1]!r}" if documents > 1 else "1 document"
        raise UsageError(
            f"a split needs documents to take in and to leave out: expected at least {SMALLEST_CORPUS} that move "
            f"apart, found {what}; add documents or take a narrower rule"
        )


def check_cells(resolved: Sequence[Resolution], design: Design) -> None:
    """Refuses a ladder one of whose rungs expects too few splits on a side, with the number that would do."""
    least = smallest_side(resolved)
    if not design.ladder or least >= SMALLEST_CELL - 1e-9:
        return
    poorest = min((r for r in resolved if r.groups), key=lambda r: min(r.splits_in, r.splits_out))
    raise UsageError(
        f"design.splits: {design.splits} splits give the rung {poorest.name!r} {least:.3g} on a side; expected "
        f"at least {SMALLEST_CELL}; use {fewest_splits(resolved, design)} splits, or fewer rungs"
    )


def fewest_splits(resolved: Sequence[Resolution], design: Design, sets: Sets | None = None, documents: int = 0) -> int:
    """Splits, in whole blocks, that such a design takes at least: enough for every rung of a ladder, every number of
    copies and every cell of the sets that are removed from so many documents; else one block."""
    size, wanted = design.block_size, 1.0
    if design.ladder:
        wanted = design.splits * SMALLEST_CELL / smallest_side(resolved)
    if design.copies is not None:
        wanted = max(wanted, SMALLEST_CELL * len(design.copies.counts))
    if sets is not None:
        wanted = max(wanted, SMALLEST_CELL / rarest_cell(design, sets, documents)[1])
    return max(1, math.ceil(wanted / size - 1e-9)) * size


def check_block(
    block: Block, number: int, units: Units, design: Design, sets: Sets | None = None, copied: Index | None = None
) -> None:
    """Checks one block as read back from disk. Raises `UsageError` for empty splits, `DamagedError` for the rest.

    sets: those that the design removes. Documents that share a unit with one of theirs are checked against the sets
    alone: their coins were overruled. copied: documents of which a split has a number of copies.
    """
    where = f"design block {number}"
    pure = np.ones(units.chain.shape[1], dtype=bool)
    if copied is not None:
        check_copies(block, number, copied, units, design)
    if sets is not None:
        check_removed(block, number, sets, units, design)
        pure = ~np.isin(units.chain[-1], units.chain[-1, sets.members[0]])
    if copied is not None:
        pure[copied] = False
    if not np.array_equal(block.included[:, pure], units.included(block.asked, block.treated)[:, pure]):
        raise DamagedError(f"{where}: inclusion does not follow from the decisions; delete the block and sample again")
    if (block.treated & ~block.asked).any():
        raise DamagedError(f"{where}: a unit was taken without a coin; delete the block and sample again")
    if design.base != "bernoulli":
        _check_balance(block, where, units, design, pure)
    own = units.chain[0, pure]
    if design.base == "complement" and (block.treated[0::2, own] == block.treated[1::2, own]).any():
        raise DamagedError(f"{where}: two splits of a pair are not opposite; delete the block and sample again")
    sizes = block.included.sum(axis=1)
    if sizes.min() == 0:
        split = number * design.block_size + int(sizes.argmin())
        raise UsageError(
            f"split {split} would have no document to train on ({block.included.shape[1]} documents, "
            f"include {design.include}); add documents or raise design.include"
        )


def _check_balance(block: Block, where: str, units: Units, design: Design, pure: NDArray[np.bool_]) -> None:
    """Each unit is decided where its parent was opened and nowhere else, as often on each side as it should.

    pure: (N,) the documents whose units are looked at.
    """
    opened = np.zeros_like(block.asked)
    for chain in units.chain[::-1]:
        members = np.unique(chain[pure])
        parents = units.parents[members]
        reached = np.ones((len(block.asked), len(members)), dtype=bool)
        reached[:, parents >= 0] = opened[:, parents[parents >= 0]]
        asked, treated = block.asked[:, members], block.treated[:, members]
        opened[:, members] = reached & ~asked
        found = np.stack([(reached & ~asked).sum(axis=0), treated.sum(axis=0), (asked & ~treated).sum(axis=0)])
        wanted = counts(reached.sum(axis=0), units.heights[members], design.include)
        if (asked & ~reached).any() or (np.abs(found - wanted) >= 1 + 1e-9).any():
            raise DamagedError(f"{where}: a unit is not balanced; delete the block and sample again")
