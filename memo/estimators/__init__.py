"""Estimators: arrays in, arrays out. No files, no Dask, no torch."""

from memo.estimators.scores import Memorization, memorization
from memo.estimators.significance import benjamini_hochberg

__all__ = ["Memorization", "benjamini_hochberg", "memorization"]
