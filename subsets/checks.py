"""What must hold for the splits on disk before the first model is trained on them."""

import math
from collections.abc import Sequence

import numpy as np

from memo.config import Design
from memo.errors import DamagedError, UsageError
from memo.splits import Block
from memo.units import Units
from subsets.designs.base import counts
from subsets.designs.resolution import Resolution, smallest_side

SMALLEST_CORPUS = 2
SMALLEST_CELL = 8  # expected splits on a side, below which a rung's score says next to nothing


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
    wanted = design.splits * SMALLEST_CELL / least
    size = design.block_size
    raise UsageError(
        f"design.splits: {design.splits} splits give the rung {poorest.name!r} {least:.3g} on a side; expected "
        f"at least {SMALLEST_CELL}; use {math.ceil(wanted / size - 1e-9) * size} splits, or fewer rungs"
    )


def check_block(block: Block, number: int, units: Units, design: Design) -> None:
    """Checks one block as read back from disk. Raises `UsageError` for empty splits, `DamagedError` for the rest."""
    where = f"design block {number}"
    if not np.array_equal(block.included, units.included(block.asked, block.treated)):
        raise DamagedError(f"{where}: inclusion does not follow from the decisions; delete the block and sample again")
    if (block.treated & ~block.asked).any():
        raise DamagedError(f"{where}: a unit was taken without a coin; delete the block and sample again")
    if design.base == "balanced":
        _check_balance(block, where, units, design)
    sizes = block.included.sum(axis=1)
    if sizes.min() == 0:
        split = number * design.block_size + int(sizes.argmin())
        raise UsageError(
            f"split {split} would have no document to train on ({block.included.shape[1]} documents, "
            f"include {design.include}); add documents or raise design.include"
        )


def _check_balance(block: Block, where: str, units: Units, design: Design) -> None:
    """Each unit is decided where its parent was opened and nowhere else, as often on each side as it should."""
    opened = np.zeros_like(block.asked)
    for chain in units.chain[::-1]:
        members = np.unique(chain)
        parents = units.parents[members]
        reached = np.ones((len(block.asked), len(members)), dtype=bool)
        reached[:, parents >= 0] = opened[:, parents[parents >= 0]]
        asked, treated = block.asked[:, members], block.treated[:, members]
        opened[:, members] = reached & ~asked
        found = np.stack([(reached & ~asked).sum(axis=0), treated.sum(axis=0), (asked & ~treated).sum(axis=0)])
        wanted = counts(reached.sum(axis=0), units.heights[members], design.include)
        if (asked & ~reached).any() or (np.abs(found - wanted) >= 1 + 1e-9).any():
            raise DamagedError(f"{where}: a unit is not balanced; delete the block and sample again")
