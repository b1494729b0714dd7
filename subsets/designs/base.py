"""Draws the coins of a block.

`balanced` fixes how often each state of a unit occurs in a block and permutes them; `bernoulli` flips an independent
coin in every split (the published design, with include = 0.25).

With levels (a ladder), from the coarsest to the finest: a unit of height r that is reached is *opened* with probability
(r - 1) / r and passes the choice on to its parts, taken whole with p / r, left whole with (1 - p) / r. Along a chain of
r units each is then decided by a coin of its own equally often. In a balanced block these shares are exact, over the
splits in which the unit's parent was opened.

A coin depends on the seed, the block, and the unit: not on the order of the documents, on other units, on the number of
splits or on who draws it.

Shapes: b splits of a block, U units, N documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.config import Design
from memo.groups import Index
from memo.seeding import uniforms, unit_keys
from memo.splits import Block
from memo.units import Units

Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]


def keys_of_units(doc_ids: Sequence[str], units: Units) -> Keys:
    """(U,) a key for every unit, from its size and the least of its documents' identifiers.

    No two units share these: of two units with a document in common one contains the other, and is larger.
    """
    least: list[str | None] = [None] * units.count
    for chain in units.chain:
        for doc_id, unit in zip(doc_ids, chain.tolist(), strict=True):
            known = least[unit]
            if known is None or doc_id < known:
                least[unit] = doc_id
    return unit_keys(f"{size}:{doc_id}" for size, doc_id in zip(units.sizes.tolist(), least, strict=True))


def draw_block(design: Design, keys: Keys, units: Units, block: int, seed: int) -> Block:
    """Draws one block. keys: (U,) of `keys_of_units`."""
    if design.base == "bernoulli":
        treated = np.stack([_uniforms(keys, block, seed, s) < design.include for s in range(design.block_size)])
        asked = np.ones_like(treated)
    else:
        asked, treated = _balanced(design, keys, units, block, seed)
    return Block(asked=asked, treated=treated, included=units.included(asked, treated))


def _balanced(design: Design, keys: Keys, units: Units, block: int, seed: int) -> tuple[Bools, Bools]:
    """asked and treated, (b, U) each."""
    shape = (design.block_size, units.count)
    asked, treated, opened = (np.zeros(shape, dtype=bool) for _ in range(3))
    for members in _from_coarse_to_fine(units):
        parents = units.parents[members]
        reached = np.ones((shape[0], len(members)), dtype=bool)
        reached[:, parents >= 0] = opened[:, parents[parents >= 0]]
        stream = _Stream(keys[members], block, seed, first_spare=shape[0])
        states = _permute(reached, counts(reached.sum(axis=0), units.heights[members], design.include, stream), stream)
        opened[:, members], treated[:, members], left = states
        asked[:, members] = treated[:, members] | left
    return asked, treated


def _from_coarse_to_fine(units: Units) -> list[Index]:
    """Units by the coarsest level on which they stand, so that a parent comes before its parts."""
    seen = np.zeros(units.count, dtype=bool)
    order = []
    for chain in units.chain[::-1]:
        members = np.unique(chain)
        order.append(members[~seen[members]])
        seen[members] = True
    return order


@dataclass(frozen=True)
class _Stream:
    """The random numbers of some units in one block: one per split, and two spare ones for rounding."""

    keys: Keys
    block: int
    seed: int
    first_spare: int

    def draw(self, number: int) -> NDArray[np.float64]:
        return _uniforms(self.keys, self.block, self.seed, number)

    def spare(self, number: int) -> NDArray[np.float64]:
        return self.draw(self.first_spare + number)


def counts(reached: Index, heights: Index, include: float, stream: _Stream | None = None) -> NDArray[np.float64]:
    """How often each unit is opened, taken and left among the splits that reach it: (3, U).

    The shares are whole for a unit whose parts go down step by step. One that skips a step (a document, or a group all
    of whose documents are copies, below a coarse group of greater height) may have a broken share: its coin rounds it,
    up or down so that the mean is right. Without a stream, the exact shares.
    """
    opened = reached * (heights - 1) / heights
    if stream is not None:
        opened = _round(opened, stream.spare(0))
    taken = (reached - opened) * include
    if stream is not None:
        taken = _round(taken, stream.spare(1))
    return np.stack([opened, taken, reached - opened - taken])


def _round(share: NDArray[np.float64], coin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Up with the probability of the broken part. The tolerance takes 3.9999... for 4."""
    whole = np.floor(share + 1e-9)
    broken = np.maximum(share - whole, 0.0)
    return whole + (coin < np.where(broken < 1e-9, 0.0, broken))


def _permute(reached: Bools, remaining: NDArray[np.float64], stream: _Stream) -> tuple[Bools, Bools, Bools]:
    """Opened, taken and left, (b, U) each: every order of the states over the reached splits is equally likely.

    Selection sampling (Knuth, The Art of Computer Programming 2, algorithm S) for all units at once: split after split,
    a state is drawn with probability (times it is still due) / (reached splits that are left).
    """
    remaining = remaining.copy()
    states = np.zeros((3, *reached.shape), dtype=bool)
    for split, here in enumerate(reached):
        ticket = stream.draw(split) * remaining.sum(axis=0)
        below_opened, below_taken = ticket < remaining[0], ticket < remaining[0] + remaining[1]
        states[0, split] = here & below_opened
        states[1, split] = here & below_taken & ~below_opened
        states[2, split] = here & ~below_taken
        remaining -= states[:, split]
    return states[0], states[1], states[2]


def _uniforms(keys: Keys, block: int, seed: int, draw: int) -> NDArray[np.float64]:
    return uniforms(keys, "design", block, seed=seed, draw=draw)
