"""Figures: functions of a frame and of matplotlib axes, which they return.

    figure, ax = matplotlib.pyplot.subplots()
    plots.scores(campaign.scores(), ax, phantoms=campaign.controls())

Each takes the plain frames that `memo.Campaign` gives, names its units, and says so in words where there is nothing to
draw. Series differ by marker, line or hatching as well as by colour, and the colours (Okabe and Ito; viridis) can be
told apart by the colour-blind and in grey. Above some thousand points a figure shows their density. Text of a corpus is
never taken for a formula.
"""

from analysis.plots.distributions import group_size, scores, simplicity, single_and_group
from analysis.plots.models import by_epoch, reliability, training_curves
from analysis.plots.spectra import corpus_spectrum, document_spectrum

__all__ = [
    "by_epoch",
    "corpus_spectrum",
    "document_spectrum",
    "group_size",
    "reliability",
    "scores",
    "simplicity",
    "single_and_group",
    "training_curves",
]
