"""Takes chosen documents in so many times, the number drawn for each split from a list such as 0, 1, 2, 4, 8.

The numbers take the place of a document's coin of the base design: it counts as taken in where its number is not 0. In
a balanced block each number comes equally often for each document, in an order of its own; with the base `bernoulli` it
is drawn anew in every split. It depends on the seed, the block and the document's identifier alone.

A chosen document is a unit by itself: one that flips its coin together with others (a group of the unit or of a rung)
or belongs to a set that is removed whole has copies of another kind, and is refused.

Shapes: b splits of a block, N documents, C copied ones, K numbers.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from memo.design_settings import DOCUMENT_RULE, Copies, Design
from memo.errors import DamagedError, UsageError
from memo.groups import Groups, Index
from memo.seeding import streams, uniforms, unit_keys
from memo.splits import Block, Counts
from memo.units import Units


def choose_copied(
    design: Design,
    groups: Groups | None,
    doc_ids: Sequence[str],
    n_tokens: NDArray[np.integer],
    units: Units,
    in_sets: Index,
    seed: int,
) -> Index:
    """Positions of the documents that are copied, rising: (C,).

    groups: of the rule that names them, where one does. in_sets: documents of sets that are removed whole.
    Raises `UsageError` for documents that cannot be copied.
    """
    copies = _settings(design)
    alone = _alone(units, in_sets)
    if copies.documents:
        chosen = _positions(copies.documents, doc_ids)
    elif groups is not None:
        chosen = np.unique(groups.document)
        if not len(chosen):
            raise UsageError(
                f"design.copies: expected documents in groups of rule {copies.rule!r}, found none; take another rule"
            )
    else:
        chosen = np.arange(len(doc_ids))
    if copies.sample is not None:
        chosen = _sampled(copies.sample, chosen[alone[chosen] & (n_tokens[chosen] > 0)], doc_ids, seed)
    _refuse_shared(chosen, alone, doc_ids, units)
    _refuse_large(design, chosen, doc_ids, n_tokens)
    return chosen


def _settings(design: Design) -> Copies:
    if design.copies is None:
        raise ValueError("expected a design with copies, found none")
    return design.copies


def _alone(units: Units, in_sets: Index) -> NDArray[np.bool_]:
    """(N,) True for documents that flip coins of their own alone, and are in no set that is removed."""
    alone: NDArray[np.bool_] = units.sizes[units.chain[-1]] == 1
    alone[in_sets] = False
    return alone


def _positions(wanted: Sequence[str], doc_ids: Sequence[str]) -> Index:
    position = {doc_id: place for place, doc_id in enumerate(doc_ids)}
    unknown = [doc_id for doc_id in wanted if doc_id not in position]
    if unknown:
        raise UsageError(
            f"design.copies.documents: expected identifiers of the corpus, found {unknown[0]!r}"
            f"{f' (and {len(unknown) - 1} more)' if len(unknown) > 1 else ''}; see documents.parquet"
        )
    return np.sort(np.array([position[doc_id] for doc_id in wanted], dtype=np.int64))


def _sampled(number: int, among: Index, doc_ids: Sequence[str], seed: int) -> Index:
    if len(among) < number:
        raise UsageError(
            f"design.copies.sample: expected at least {number:,} documents that flip coins of their own alone and are "
            f"in no set that is removed, found {len(among):,}; sample fewer"
        )
    keys = streams(unit_keys(doc_ids[place] for place in among), "copied", seed=seed)
    return np.sort(among[np.argsort(uniforms(keys, 0), kind="stable")[:number]])


def _refuse_shared(chosen: Index, alone: NDArray[np.bool_], doc_ids: Sequence[str], units: Units) -> None:
    shared = chosen[~alone[chosen]]
    if not len(shared):
        return
    first = int(shared[0])
    mates = int(units.sizes[units.chain[-1, first]]) - 1
    what = f"flips its coin together with {mates} more (rule {units.names[-1]!r})"
    if not mates:
        what = "is in a set that design.knockout removes whole"
    raise UsageError(
        f"design.copies: expected documents that stand alone in the design, found that {doc_ids[first]!r} {what}"
        f"{f', and {len(shared) - 1} more such' if len(shared) > 1 else ''}; choose others, or sample, which takes "
        "only such as stand alone"
    )


def _refuse_large(design: Design, chosen: Index, doc_ids: Sequence[str], n_tokens: NDArray[np.integer]) -> None:
    most = max(_settings(design).counts)
    weights = np.full(len(doc_ids), design.include)
    weights[chosen] = np.mean(_settings(design).counts)
    share = most * n_tokens[chosen] / float(weights @ n_tokens)
    worst = int(share.argmax())
    if share[worst] > design.max_removed:
        raise UsageError(
            f"design.copies: {most} copies of document {doc_ids[int(chosen[worst])]!r}: expected at most "
            f"{design.max_removed:g} of the tokens of a split, found {share[worst]:.3g}; take shorter documents, fewer "
            "copies, or raise design.max_removed"
        )


def draw_copies(design: Design, doc_ids: Sequence[str], block: int, seed: int) -> Counts:
    """(b, C): how often each split of a block has each of these documents."""
    numbers = np.array(_settings(design).counts, dtype=np.uint8)
    starts, size = streams(unit_keys(doc_ids), "copies", block, seed=seed), design.block_size
    if design.base == "bernoulli":
        return np.stack([numbers[(uniforms(starts, s) * len(numbers)).astype(np.int64)] for s in range(size)])
    due = np.full((len(starts), len(numbers)), size // len(numbers))
    drawn = np.zeros((size, len(starts)), dtype=np.uint8)
    for split in range(size):  # selection sampling, as in the base designs
        ticket = uniforms(starts, split) * (size - split)
        state = (ticket[:, None] >= np.cumsum(due, axis=1)).sum(axis=1)
        due[np.arange(len(starts)), state] -= 1
        drawn[split] = numbers[state]
    return drawn


def with_copies(block: Block, copies: Counts, copied: Index, units: Units) -> Block:
    """The block with these numbers in the place of the documents' coins."""
    asked, treated, included = block.asked.copy(), block.treated.copy(), block.included.copy()
    unit = units.chain[0, copied]
    asked[:, unit], treated[:, unit], included[:, copied] = True, copies > 0, copies > 0
    return replace(block, asked=asked, treated=treated, included=included, copies=copies)


def check_copies(block: Block, number: int, copied: Index, units: Units, design: Design) -> None:
    """Checks what `with_copies` made, as read back from disk. Raises `DamagedError`."""
    where, again = f"design block {number}", "delete the block and sample again"
    if block.copies.shape[1] != len(copied):
        raise DamagedError(
            f"{where}: expected numbers of {len(copied)} documents, found {block.copies.shape[1]}; {again}"
        )
    there, unit = block.copies > 0, units.chain[0, copied]
    if (block.included[:, copied] != there).any() or (block.treated[:, unit] != there).any():
        raise DamagedError(f"{where}: a document is in a split that has no copy of it, or the other way; {again}")
    numbers = _settings(design).counts
    found = np.stack([(block.copies == count).sum(axis=0) for count in numbers])
    if (found.sum(axis=0) != len(block.copies)).any():
        raise DamagedError(f"{where}: a number of copies is none of the design's; {again}")
    if design.base != "bernoulli" and (found != len(block.copies) // len(numbers)).any():
        raise DamagedError(f"{where}: numbers of copies are not balanced; {again}")


def rule_of(design: Design) -> str | None:
    """The rule that names the copied documents; None where none does, or where every document is one."""
    rule = None if design.copies is None else design.copies.rule
    return None if rule == DOCUMENT_RULE else rule
