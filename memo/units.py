"""What flips coins: documents, groups, and groups of groups.

A design has levels, from the finest to the coarsest, each a partition of the documents that the one before refines. A
unit is a set of documents that stands on one level or several; a set that stands on several is one unit, because it is
kept or left out in one way only. On every level a document belongs to exactly one unit.

    level 0    {a} {b} {c} {d}        the documents
    level 1    {a  b} {c} {d}         exact copies
    level 2    {a  b   c} {d}         near-duplicates

Here are six units: four documents, {a b} and {a b c}; {d} stands on all three levels. Its height, the number of units
on the longest way down from it, is 1; the height of {a b c} is 3.

Shapes: L levels, N documents, U units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memo.groups import Groups, Index

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Units:
    """`chain[l, i]` is the unit of document i on level l."""

    chain: NDArray[np.int64]  # (L, N)
    names: tuple[str, ...]  # (L,) the rule of each level
    joined: tuple[int, ...] = ()  # (L,) groups of each rule that became larger, because the level below was not nested

    @classmethod
    def of_levels(
        cls, levels: Sequence[NDArray[np.int64]], names: Sequence[str], joined: Sequence[int] = ()
    ) -> "Units":
        """From a partition for each level, as labels (N,); each must refine the next."""
        chain = np.empty((len(levels), len(levels[0])), dtype=np.int64)
        units = 0
        for level, labels in enumerate(levels):
            _, inverse = np.unique(labels, return_inverse=True)
            if level == 0:
                chain[0] = inverse
                units = int(inverse.max(initial=-1)) + 1
                continue
            size, size_below = np.bincount(inverse), np.bincount(chain[level - 1], minlength=units)
            same = size[inverse] == size_below[chain[level - 1]]  # the unit below is the whole group
            grown, number = np.unique(inverse[~same], return_inverse=True)
            chain[level] = chain[level - 1]
            chain[level, ~same] = units + number
            units += len(grown)
        return cls(chain, tuple(names), tuple(joined))

    @cached_property
    def count(self) -> int:
        return int(self.chain.max(initial=-1)) + 1

    @cached_property
    def sizes(self) -> Index:
        """Documents of each unit: (U,)."""
        sizes = np.zeros(self.count, dtype=np.int64)
        for level in self.chain:
            counts = np.bincount(level, minlength=self.count)
            sizes = np.where(counts > 0, counts, sizes)
        return sizes

    @cached_property
    def parents(self) -> Index:
        """The unit that each unit is a part of, -1 for the coarsest: (U,)."""
        parents = np.full(self.count, -1, dtype=np.int64)
        for fine, coarse in zip(self.chain[:-1], self.chain[1:], strict=True):
            apart = fine != coarse
            parents[fine[apart]] = coarse[apart]
        return parents

    @cached_property
    def heights(self) -> Index:
        """Units on the longest way down from each, itself counted: (U,)."""
        heights = np.ones(self.count, dtype=np.int64)
        for fine, coarse in zip(self.chain[:-1], self.chain[1:], strict=True):
            apart = fine != coarse
            np.maximum.at(heights, coarse[apart], heights[fine[apart]] + 1)
        return heights

    @cached_property
    def decided_share(self) -> NDArray[np.float64]:
        """Expected share of the splits in which each is decided by a coin of its own: (U,).

        A unit of height r that is reached is opened with probability (r - 1) / r, and else decided.
        """
        reached = np.ones(self.count)
        for chain in self.chain[::-1]:
            members = np.unique(chain)
            members = members[self.parents[members] >= 0]
            parents = self.parents[members]
            reached[members] = reached[parents] * (self.heights[parents] - 1) / self.heights[parents]
        return reached / self.heights

    def deciding_level(self, asked: Bools) -> NDArray[np.int8]:
        """(N,) the level whose coin decided each document in one split; asked: (U,). -1 where none did."""
        level = np.full(self.chain.shape[1], -1, dtype=np.int8)
        for number in reversed(range(len(self.chain))):
            level[(level < 0) & asked[self.chain[number]]] = number
        return level

    def included(self, asked: Bools, treated: Bools) -> Bools:
        """(b, N) the documents that each split takes in, from the decisions (b, U) of its coins."""
        taken = asked & treated
        included = np.zeros((len(asked), self.chain.shape[1]), dtype=bool)
        for split, row in enumerate(taken):
            for level in self.chain:
                included[split] |= row[level]
        return included

    def groups(self, level: int, doc_ids: Sequence[str], labels: Groups | None = None) -> Groups:
        """The partition of a level. A unit that is a group of `labels` bears its label, another one's begins with
        `joined:` and names its least document; a document alone bears its own identifier."""
        units, group = np.unique(self.chain[level], return_inverse=True)
        least: dict[int, str] = {}
        for doc_id, unit in zip(doc_ids, group.tolist(), strict=True):
            if unit not in least or doc_id < least[unit]:
                least[unit] = doc_id
        sizes = self.sizes[units]
        names: list[str | None] = [None] * len(units)
        if labels is not None:
            whole = labels.sizes[labels.group] == sizes[group[labels.document]]
            for document, label in zip(labels.document[whole], labels.group[whole], strict=True):
                names[group[document]] = labels.ids[label]
        own = [least[u] if sizes[u] == 1 else f"joined:{least[u]}" for u in range(len(units))]
        return Groups(_unique(names, own), np.arange(len(group)), group, len(group))


def _unique(given: list[str | None], own: list[str]) -> tuple[str, ...]:
    """The label that a rule gave to each group, else its own name.

    A document may bear somebody's label as its identifier; its own group must not be taken for that.
    """
    taken = {name for name in given if name is not None}
    names = []
    for label, fallback in zip(given, own, strict=True):
        name = fallback if label is None else label
        while label is None and name in taken:
            name = f"document:{name}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def build_units(doc_ids: Sequence[str], rules: Mapping[str, Groups]) -> Units:
    """Units of a design whose levels are these rules, the finest first; each is joined with the one below."""
    levels: list[Index] = []
    joined: list[int] = []
    for groups in rules.values():
        labels, grown = join(levels[-1], groups) if levels else (groups.labels(), 0)
        levels.append(labels)
        joined.append(grown)
    return Units.of_levels(levels, list(rules), joined)


def join(finer: NDArray[np.int64], groups: Groups) -> tuple[NDArray[np.int64], int]:
    """The finest partition that both a partition (N,) and a rule's groups refine, and how many groups it made larger.

    0 means that the rule's groups were nested over the partition already.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    parts, offset = np.unique(finer, return_inverse=True)[1], int(finer.max(initial=-1)) + 1
    size = offset + len(groups.ids)
    edges = (np.ones(len(groups.document), dtype=np.int8), (parts[groups.document], offset + groups.group))
    _, component = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    joined = component[parts]
    grown = np.bincount(joined, minlength=size)[component[offset:]] > groups.sizes
    return joined, int(grown.sum())
