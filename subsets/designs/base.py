"""Base designs: one coin per unit and split.

`balanced` takes every unit in exactly include x b of a block's b splits; `bernoulli` flips an independent coin in every
split (the published design, with include = 0.25). A unit is a document, or a group that moves as one.

A coin depends on the seed, the block, and the unit's identifier: not on the order of the documents, on other units, on
the number of splits or on who draws it.

Shapes: b splits of a block, U units, N documents.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memo.config import Design
from memo.groups import Index
from memo.seeding import uniforms
from memo.splits import Block

Bools = NDArray[np.bool_]


def unit_identifiers(doc_ids: Sequence[str], unit_of: Index) -> list[str]:
    """(U,) the identifier of every unit: the least of its documents' identifiers, whatever their order."""
    least: dict[int, str] = {}
    for doc_id, unit in zip(doc_ids, unit_of.tolist(), strict=True):
        if unit not in least or doc_id < least[unit]:
            least[unit] = doc_id
    return [least[unit] for unit in range(len(least))]


def draw_block(design: Design, keys: NDArray[np.uint64], unit_of: Index, block: int, seed: int) -> Block:
    """Draws one block. keys: (U,) of `unit_keys(unit_identifiers(...))`; unit_of: (N,)."""
    draw = _balanced if design.base == "balanced" else _bernoulli
    treated = draw(keys, design.block_size, design.include, block, seed)
    return Block(asked=np.ones_like(treated), treated=treated, included=treated[:, unit_of])


def _bernoulli(keys: NDArray[np.uint64], splits: int, include: float, block: int, seed: int) -> Bools:
    return np.stack([_uniforms(keys, block, seed, split) < include for split in range(splits)])


def _balanced(keys: NDArray[np.uint64], splits: int, include: float, block: int, seed: int) -> Bools:
    """Exactly include x splits of each unit's splits, every such choice equally likely.

    Selection sampling (Knuth, The Art of Computer Programming 2, algorithm S) for all units at once: split after split,
    a unit is taken with probability (still to take) / (splits left).
    """
    wanted = np.full(len(keys), round(include * splits))
    treated = np.empty((splits, len(keys)), dtype=bool)
    for split in range(splits):
        treated[split] = _uniforms(keys, block, seed, split) * (splits - split) < wanted
        wanted -= treated[split]
    return treated


def _uniforms(keys: NDArray[np.uint64], block: int, seed: int, draw: int) -> NDArray[np.float64]:
    return uniforms(keys, "design", block, seed=seed, draw=draw)
