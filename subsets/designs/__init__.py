"""Designs: which units each split takes in. `draw_block` is the one way to make a block of splits."""

from subsets.designs.base import draw_block, keys_of_units
from subsets.designs.resolution import Resolution, resolutions

__all__ = ["Resolution", "draw_block", "keys_of_units", "resolutions"]
