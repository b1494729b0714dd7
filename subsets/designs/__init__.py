"""Designs: which units each split takes in. `draw_block` is the one way to make a block of splits."""

from subsets.designs.base import draw_block, unit_identifiers

__all__ = ["draw_block", "unit_identifiers"]
