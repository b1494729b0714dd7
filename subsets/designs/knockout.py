"""Removes sets of documents whole, on top of what a base design takes in.

Each set has a coin of its own, removed in probability x block splits of every block exactly where that is whole, and
rounded by the coin where it is not. A document is in a split where the base took it in and none of its sets is removed.
The coin of a unit that lost a document in a split does not count there: it is stored as not asked. In a complement
design it does not count in the opposite split either: half a pair beside whole ones is no independent sample, because
what else is in two opposite splits is opposite as well (simulated with a third of the variance from there, intervals
that take such splits for independent cover 92 %, those of whole pairs 95 %; totals and rests cover 94 and 95 %).

Control sets are random documents of no other set, in sizes that grow by a constant factor up to the largest set's;
before others such as flip coins alone.

Shapes: b splits of a block, N documents, S sets, U units.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from memo.design_settings import SMALLEST_CELL, Design
from memo.errors import DamagedError, UsageError
from memo.groups import Groups, Index
from memo.seeding import streams, uniforms, unit_keys
from memo.sets import Sets
from memo.splits import Block
from memo.units import Units

SMALLEST_FACTOR = 8  # the smallest control set is at most so much smaller than the largest
MOST = 0.9  # share of the documents without a set that control sets may take


def build_sets(
    design: Design,
    rules: dict[str, Groups],
    doc_ids: list[str],
    n_tokens: NDArray[np.integer],
    seed: int,
    spared: Index | None = None,
    units: Units | None = None,
) -> Sets:
    """The sets of a design and its control sets, which have no document of `spared`.

    Where units are given, control sets take documents that flip coins alone before others: one that goes with a set
    takes its group's coin out of the split.

    Raises `UsageError` for sets that are too large or too many.
    """
    if design.knockout is None:
        raise ValueError("expected a design with knockouts, found none")
    sets = Sets.of_groups(rules)
    empty = [name for name, groups in rules.items() if not groups.ids]
    if empty:
        raise UsageError(f"design.knockout: expected sets, found none of rule {empty[0]!r}; leave it out")
    _refuse_large(design, sets, n_tokens)
    free = np.setdiff1d(np.arange(len(doc_ids)), sets.members[0])
    free = free if spared is None else np.setdiff1d(free, spared)
    keys = streams(unit_keys(doc_ids[place] for place in free), "size controls", seed=seed)
    grouped = np.zeros(len(free), dtype=bool) if units is None else units.sizes[units.chain[-1, free]] > 1
    order = free[np.lexsort((uniforms(keys, 0), grouped))]
    controls = _control_sets(design.knockout.size_controls, sets, order[n_tokens[order] > 0], n_tokens)
    sets = Sets.of_groups(rules, controls)
    _refuse_few(design, sets, doc_ids)
    return sets


def _refuse_large(design: Design, sets: Sets, n_tokens: NDArray[np.integer]) -> None:
    expected = design.include * float(n_tokens.sum())
    share = sets.tokens(n_tokens) / expected
    worst = int(share.argmax())
    if share[worst] > design.max_removed:
        raise UsageError(
            f"design.knockout: rule {sets.rule[worst]!r}, set {sets.group[worst]!r}: expected at most "
            f"{design.max_removed:g} of the tokens of a split, found {share[worst]:.3g}; take a narrower rule or raise "
            "design.max_removed"
        )


def _control_sets(number: int, sets: Sets, order: Index, n_tokens: NDArray[np.integer]) -> list[Index]:
    """Positions of the documents of each, taken in this order; they share none."""
    if not number:
        return []
    tokens = sets.tokens(n_tokens)
    largest = int(tokens.max())
    smallest = max(1, min(int(tokens.min()), largest // SMALLEST_FACTOR))
    wanted = np.geomspace(smallest, largest, number) if number > 1 else np.array([float(largest)])
    total, chosen, begin = np.cumsum(n_tokens[order]), [], 0
    for size in wanted:
        if begin >= len(order):
            break  # refused below
        before = int(total[begin - 1]) if begin else 0
        end = int(np.searchsorted(total, before + size)) + 1
        chosen.append(order[begin:end])
        begin = end
    if begin > MOST * len(order):
        raise UsageError(
            f"design.knockout.size_controls: {number} control sets of up to {largest:,} tokens take "
            f"{int(wanted.sum()):,}; expected documents of no set with clearly more, found "
            f"{int(n_tokens[order].sum()):,} tokens; take fewer control sets or a narrower rule"
        )
    return chosen


def rarest_cell(design: Design, sets: Sets, documents: int) -> tuple[str, float, int]:
    """The cell of the contrasts that expects the smallest share of the splits: its name, the share, and the document,
    one that is in as many sets as any."""
    if design.knockout is None:
        raise ValueError("expected a design with knockouts, found none")
    q, p, number = design.knockout.probability, design.include, sets.number_of(documents)
    worst = int(number.argmax())
    kept = (1 - q) ** (number[worst] - 1)
    cells = {"removed": q * kept, "kept and in": (1 - q) * kept * p, "kept and out": (1 - q) * kept * (1 - p)}
    name, share = min(cells.items(), key=lambda cell: cell[1])
    return name, float(share), worst


def _refuse_few(design: Design, sets: Sets, doc_ids: list[str]) -> None:
    """Every cell of the contrasts of every document expects enough splits."""
    name, share, worst = rarest_cell(design, sets, len(doc_ids))
    if design.splits * share < SMALLEST_CELL - 1e-9:
        enough = math.ceil(SMALLEST_CELL / share / design.block_size - 1e-9) * design.block_size
        number = sets.number_of(len(doc_ids))[worst]
        of_them = f"in {number} sets" if number > 1 else "in a set"
        raise UsageError(
            f"design.knockout: document {doc_ids[worst]!r} is {of_them}, so {design.splits} splits give "
            f"{design.splits * share:.3g} in which {'one of them' if number > 1 else 'it'} is {name}"
            f"{' and the others are kept' if number > 1 else ''}; expected at least {SMALLEST_CELL}; use {enough} "
            "splits, fewer sets, or another probability"
        )


def draw_removed(design: Design, sets: Sets, block: int, seed: int) -> NDArray[np.bool_]:
    """(b, S): in which splits of a block each set is removed. Depends on seed, block and the set's own name."""
    if design.knockout is None:
        raise ValueError("expected a design with knockouts, found none")
    size = design.block_size
    names = (f"{rule}\n{group}" for rule, group in zip(sets.rule, sets.group, strict=True))
    starts = streams(unit_keys(names), "knockout", block, seed=seed)
    due = np.full(sets.count, design.knockout.probability * size)
    whole = np.floor(due + 1e-9)
    due = whole + (uniforms(starts, size) < np.where(due - whole < 1e-9, 0.0, due - whole))
    removed = np.zeros((size, sets.count), dtype=bool)
    for split in range(size):  # selection sampling, as in the base designs
        removed[split] = uniforms(starts, split) * (size - split) < due
        due = due - removed[split]
    return removed


def remove(block: Block, removed: NDArray[np.bool_], sets: Sets, units: Units, paired: bool = False) -> Block:
    """The block without what was removed; coins of units that lost a document do not count there.

    paired: splits 0 and 1, 2 and 3, ... are opposite, and count together or not at all.
    """
    gone = sets.gone(removed, block.included.shape[1])
    touched = _touched(gone, units)
    if paired:
        touched = np.repeat(touched[0::2] | touched[1::2], 2, axis=0)
    asked = block.asked & ~touched
    return replace(block, asked=asked, treated=block.treated & asked, included=block.included & ~gone, removed=removed)


def _touched(gone: NDArray[np.bool_], units: Units) -> NDArray[np.bool_]:
    """(b, U) True where a document of the unit is gone."""
    touched = np.zeros((len(gone), units.count), dtype=bool)
    for split, row in enumerate(gone):
        for chain in units.chain:
            touched[split, chain[row]] = True
    return touched


def check_removed(block: Block, number: int, sets: Sets, units: Units, design: Design) -> None:
    """Checks what `remove` made, as read back from disk. Raises `DamagedError`."""
    where = f"design block {number}"
    gone = sets.gone(block.removed, block.included.shape[1])
    if block.removed.shape[1] != sets.count or (block.included & gone).any():
        raise DamagedError(f"{where}: a document of a removed set is in a split; delete the block and sample again")
    if (block.asked & _touched(gone, units)).any():
        raise DamagedError(f"{where}: a coin counts that was overruled; delete the block and sample again")
    expected = 0.0 if design.knockout is None else design.knockout.probability * design.block_size
    if (np.abs(block.removed.sum(axis=0) - expected) >= 1 - 1e-9).any():
        raise DamagedError(f"{where}: a set is not balanced; delete the block and sample again")
