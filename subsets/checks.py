"""What must hold for the splits on disk before the first model is trained on them."""

import numpy as np

from memo.config import Design
from memo.errors import DamagedError, UsageError
from memo.groups import Index
from memo.splits import Block

SMALLEST_CORPUS = 2


def check_enough_documents(documents: int, unit_of: Index, design: Design) -> None:
    """Refuses a corpus whose splits would be empty. Raises `UsageError` with the arithmetic."""
    units = int(unit_of.max(initial=-1)) + 1
    if units < SMALLEST_CORPUS:
        what = f"{documents} documents in {units} unit" if units != documents else f"{documents} documents"
        raise UsageError(
            f"a split needs documents to take in and to leave out: expected at least {SMALLEST_CORPUS} units, "
            f"found {what}; add documents or change design.unit"
        )


def check_block(block: Block, number: int, unit_of: Index, design: Design) -> None:
    """Checks one block as read back from disk. Raises `UsageError` for empty splits, `DamagedError` for the rest."""
    where = f"design block {number}"
    if not np.array_equal(block.included, block.treated[:, unit_of]):
        raise DamagedError(f"{where}: inclusion does not follow from the decisions; delete the block and sample again")
    if design.base == "balanced":
        counts = block.treated.sum(axis=0)
        if (counts != round(design.include * design.block_size)).any():
            raise DamagedError(f"{where}: a unit is not balanced; delete the block and sample again")
    sizes = block.included.sum(axis=1)
    if sizes.min() == 0:
        split = number * design.block_size + int(sizes.argmin())
        raise UsageError(
            f"split {split} would have no document to train on ({block.included.shape[1]} documents, "
            f"include {design.include}); add documents or raise design.include"
        )
