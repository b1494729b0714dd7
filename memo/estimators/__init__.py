"""Estimators: arrays in, arrays out. No files, no Dask, no torch."""

from memo.estimators.bootstrap import Bootstrap, block_bootstrap
from memo.estimators.checks import BadValueError
from memo.estimators.copies import DoseCurve, copies_scores, dose_curve
from memo.estimators.extrapolation import models_for, rank_correlation, resolvable_gap, spearman_brown
from memo.estimators.influence import Influence, influence
from memo.estimators.knockout import Effect, Knockout, knockout
from memo.estimators.pairs import paired_memorization
from memo.estimators.power import (
    Noise,
    Prediction,
    effective_splits,
    measure_noise,
    predict,
    splits_for_reliability,
    splits_for_se,
    standard_error,
)
from memo.estimators.reliability import Agreement, Diagnostics, diagnose
from memo.estimators.scores import Memorization, memorization, memorization_of
from memo.estimators.significance import benjamini_hochberg
from memo.estimators.simplicity import simplicity
from memo.estimators.size_curve import SizeCurve, size_curve
from memo.estimators.sums import Sums, sums
from memo.estimators.verdicts import Verdicts, verdicts

__all__ = [
    "Agreement",
    "BadValueError",
    "Bootstrap",
    "Diagnostics",
    "DoseCurve",
    "Effect",
    "Influence",
    "Knockout",
    "Memorization",
    "Noise",
    "Prediction",
    "SizeCurve",
    "Sums",
    "Verdicts",
    "benjamini_hochberg",
    "block_bootstrap",
    "copies_scores",
    "diagnose",
    "dose_curve",
    "effective_splits",
    "influence",
    "knockout",
    "measure_noise",
    "memorization",
    "memorization_of",
    "models_for",
    "paired_memorization",
    "predict",
    "rank_correlation",
    "resolvable_gap",
    "simplicity",
    "size_curve",
    "spearman_brown",
    "splits_for_reliability",
    "splits_for_se",
    "standard_error",
    "sums",
    "verdicts",
]
