"""Everything that a design does to documents, and what follows for their numbers: coins, sets that go, copies.

Shapes: N documents, U units, S sets, C copied documents.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memo.design_settings import Design
from memo.groups import Index
from memo.sets import Sets
from memo.units import Units

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """sets: what is removed whole, control sets included; copied: positions, (C,). None where the design has none."""

    design: Design
    units: Units
    sets: Sets | None = None
    copied: Index | None = None

    @cached_property
    def counting_share(self) -> Floats:
        """(U,) expected share of the splits in which a coin of the unit's own decides it and no document of it is
        removed with a set."""
        share = self.units.decided_share
        if self.sets is None or self.design.knockout is None:
            return share
        document, group = self.sets.members
        pairs = np.unique(np.concatenate([chain[document] * self.sets.count + group for chain in self.units.chain]))
        touching = np.bincount(pairs // self.sets.count, minlength=self.units.count)
        splits = 2 if self.design.base == "complement" else 1  # pairs count together
        return share * (1 - self.design.knockout.probability) ** (splits * touching)

    @cached_property
    def expected_times(self) -> Floats:
        """(N,) how often a split has each document, on average."""
        documents = self.units.chain.shape[1]
        times = np.full(documents, self.design.include)
        if self.sets is not None and self.design.knockout is not None:
            times *= (1 - self.design.knockout.probability) ** self.sets.number_of(documents)
        if self.copied is not None and self.design.copies is not None:
            times[self.copied] = np.mean(self.design.copies.counts)
        return times
