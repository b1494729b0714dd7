"""Estimators: arrays in, arrays out. No files, no Dask, no torch."""

from memo.estimators.bootstrap import Bootstrap, block_bootstrap
from memo.estimators.influence import Influence, influence
from memo.estimators.pairs import paired_memorization
from memo.estimators.scores import Memorization, memorization, memorization_of
from memo.estimators.significance import benjamini_hochberg
from memo.estimators.simplicity import simplicity
from memo.estimators.sums import Sums, sums

__all__ = [
    "Bootstrap",
    "Influence",
    "Memorization",
    "Sums",
    "benjamini_hochberg",
    "block_bootstrap",
    "influence",
    "memorization",
    "memorization_of",
    "paired_memorization",
    "simplicity",
    "sums",
]
