"""Draws the coins of a block.

`balanced` fixes how often each state of a unit occurs in a block and permutes them; `bernoulli` flips an independent
coin in every split (the published design, with include = 0.25). `complement` flips one coin for every two splits that
follow each other: a unit is in one of them and left out of the other.

With levels (a ladder), from the coarsest to the finest: a unit of height r that is reached is *opened* with probability
(r - 1) / r and passes the choice on to its parts, taken whole with p / r, left whole with (1 - p) / r. Along a chain of
r units each is then decided by a coin of its own equally often. In a balanced block these shares are exact, over the
splits in which the unit's parent was opened.

A coin depends on the seed, the block, and the unit: not on the order of the documents, on other units, on the number of
splits or on who draws it.

Shapes: b splits of a block, U units, N documents.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from memo.design_settings import Design
from memo.groups import Index
from memo.seeding import streams, uniforms, unit_keys
from memo.splits import Block
from memo.units import Units

Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]
UNITS_AT_A_TIME = 1 << 15  # their numbers fit the core's cache: three times as fast as all at once


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


def draw_block(design: Design, keys: Keys, units: Units, block: int, seed: int, controls: Sequence[str] = ()) -> Block:
    """Draws one block. keys: (U,) of `keys_of_units`. controls: identifiers of texts with coins of their own."""
    starts = streams(keys, "design", block, seed=seed)
    if design.base == "balanced":
        asked, treated = _balanced(design, starts, units)
    else:
        treated = _in_one_level(design, starts)
        asked = np.ones_like(treated)
    included = units.included(asked, treated)
    return Block(
        asked=asked, treated=treated, included=included, controls=_control_coins(design, controls, block, seed)
    )


def _control_coins(design: Design, controls: Sequence[str], block: int, seed: int) -> Bools:
    """(b, C) coins as a document without siblings has them, from streams of their own."""
    starts = streams(unit_keys(controls), "controls", block, seed=seed)
    if design.base != "balanced":
        return _in_one_level(design, starts)
    reached = np.ones((design.block_size, len(controls)), dtype=bool)
    due = counts(reached.sum(axis=0), np.ones(len(controls), dtype=np.int64), design.include, starts, design.block_size)
    return _permute(reached, due, starts)[1]


def _in_one_level(design: Design, starts: Keys) -> Bools:
    """treated, (b, U), of a design in which every split asks every unit."""
    if design.base == "bernoulli":
        return np.stack([uniforms(starts, split) < design.include for split in range(design.block_size)])
    first = [uniforms(starts, pair) < design.include for pair in range(design.block_size // 2)]
    return np.stack([side for coin in first for side in (coin, ~coin)])


def _balanced(design: Design, starts: Keys, units: Units) -> tuple[Bools, Bools]:
    """asked and treated, (b, U) each."""
    shape = (design.block_size, units.count)
    asked, treated, opened = (np.zeros(shape, dtype=bool) for _ in range(3))
    for members in _from_coarse_to_fine(units):
        parents = units.parents[members]
        reached = np.ones((shape[0], len(members)), dtype=bool)
        reached[:, parents >= 0] = opened[:, parents[parents >= 0]]
        due = counts(reached.sum(axis=0), units.heights[members], design.include, starts[members], shape[0])
        states = _permute(reached, due, starts[members])
        opened[:, members], treated[:, members], left = states
        asked[:, members] = treated[:, members] | left
    return asked, treated


def _from_coarse_to_fine(units: Units) -> Iterator[Index]:
    """Units by the coarsest level on which they stand, so that a parent comes before its parts; some at a time."""
    seen = np.zeros(units.count, dtype=bool)
    for chain in units.chain[::-1]:
        members = np.flatnonzero(np.bincount(chain, minlength=units.count))
        members = members[~seen[members]]
        seen[members] = True
        for start in range(0, len(members), UNITS_AT_A_TIME):
            yield members[start : start + UNITS_AT_A_TIME]


def counts(
    reached: Index, heights: Index, include: float, starts: Keys | None = None, first_spare: int = 0
) -> NDArray[np.float64]:
    """How often each unit is opened, taken and left among the splits that reach it: (3, U).

    The shares are whole for a unit whose parts go down step by step. One that skips a step (a document, or a group all
    of whose documents are copies, below a coarse group of greater height) may have a broken share: its coin rounds it,
    up or down so that the mean is right, with its draws from `first_spare` on. Without streams, the exact shares.
    """
    opened = reached * (heights - 1) / heights
    if starts is not None:
        opened = _round(opened, starts, first_spare)
    taken = (reached - opened) * include
    if starts is not None:
        taken = _round(taken, starts, first_spare + 1)
    return np.stack([opened, taken, reached - opened - taken])


def _round(share: NDArray[np.float64], starts: Keys, draw: int) -> NDArray[np.float64]:
    """Up with the probability of the broken part. The tolerance takes 3.9999... for 4."""
    whole = np.floor(share + 1e-9)
    broken = share - whole
    return whole + (uniforms(starts, draw) < np.where(broken < 1e-9, 0.0, broken))


def _permute(reached: Bools, due: NDArray[np.float64], starts: Keys) -> tuple[Bools, Bools, Bools]:
    """Opened, taken and left, (b, U) each: every order of the states over the reached splits is equally likely.

    Selection sampling (Knuth, The Art of Computer Programming 2, algorithm S) for all units at once: split after split,
    a state is drawn with probability (times it is still due) / (reached splits that are left).
    """
    opened_due, taken_due, all_due = due[0].copy(), due[1].copy(), due.sum(axis=0)
    opened, taken = np.zeros_like(reached), np.zeros_like(reached)
    for split, here in enumerate(reached):
        ticket = uniforms(starts, split)
        ticket *= all_due
        opened[split] = here & (ticket < opened_due)
        taken[split] = here & (ticket < opened_due + taken_due) & ~opened[split]
        opened_due -= opened[split]
        taken_due -= taken[split]
        all_due -= here
    return opened, taken, reached & ~opened & ~taken
