"""What a design can resolve, before anything is trained: expected splits on each side of every level's coins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.design_settings import Design
from memo.units import Units

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


def resolutions(design: Design, units: Units) -> list[Resolution]:
    """One per level, from the finest to the coarsest."""
    return [_resolution(design, units, units.decided_share, level) for level in range(len(units.chain))]


def _resolution(design: Design, units: Units, share: NDArray[np.float64], level: int) -> Resolution:
    members = np.unique(units.chain[level])
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
