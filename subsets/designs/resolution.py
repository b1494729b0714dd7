"""What a design can resolve, before anything is trained: expected splits on each side of every level's coins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.design_settings import Design
from memo.groups import Index
from memo.units import Units
from subsets.designs.parts import Parts

# Nats per model and document: measured on 224 GPT-2 models of 512 docstrings, 20 epochs. Other campaigns differ.
TYPICAL_NOISE_NATS = 0.23


@dataclass(frozen=True)
class Resolution:
    """The groups of one level that are two documents or more (or, on the finest, the documents)."""

    name: str
    groups: int
    documents: int
    splits_in: float  # expected, for the group that has the fewest
    splits_out: float

    def standard_error(self, noise: float = TYPICAL_NOISE_NATS) -> float:
        """Of a score, in nats per token, at this noise per model and document."""
        if not self.splits_in or not self.splits_out:
            return float("nan")
        return noise * float(np.sqrt(1 / self.splits_in + 1 / self.splits_out))


def resolutions(design: Design, units: Units, parts: Parts | None = None) -> list[Resolution]:
    """One per level, from the finest to the coarsest.

    parts: what else the design does: a unit that loses a document with a set does not count in that split, and
    documents that are copied are left out, whose sides are not those of the base design.
    """
    parts = parts or Parts(design, units)
    return [_resolution(design, units, parts.counting_share, level, parts.copied) for level in range(len(units.chain))]


def _resolution(
    design: Design, units: Units, share: NDArray[np.float64], level: int, copied: Index | None
) -> Resolution:
    members = np.unique(units.chain[level])
    if copied is not None:
        members = np.setdiff1d(members, units.chain[level, copied])
    if level > 0 or design.levels[0] != "document":
        members = members[units.sizes[members] > 1]
    least = float(share[members].min()) * design.splits if len(members) else 0.0
    return Resolution(
        units.names[level],
        len(members),
        int(units.sizes[members].sum()),
        least * design.include,
        least * (1 - design.include),
    )


def smallest_side(resolved: Sequence[Resolution]) -> float:
    """Expected splits on the emptier side of the level that has the fewest."""
    return min((min(r.splits_in, r.splits_out) for r in resolved if r.groups), default=float("inf"))
