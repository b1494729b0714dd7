"""Where on the spectrum from memorization to generalization a document stands.

Of the rules from the finest to the coarsest: the model has *memorized at rule R* a document whose gap under R is above
the margin while its gaps under every finer rule are below it; it *generalizes* where every gap is below the margin; all
else is *undecided*. "Above" and "below" are those of confidence bounds, so a gap that is merely not significant decides
nothing. With R rules that have a gap, each interval has confidence 1 - (1 - confidence) / R (Bonferroni): all of a
document's bounds hold together with the confidence that was asked for.

Shapes: D documents, R rules from the finest to the coarsest.
"""

from dataclasses import dataclass

import numpy as np

from memo.estimators.checks import Floats, Ints
from memo.estimators.student import t_quantile

MARGIN = 0.5  # nats per token
UNDECIDED, GENERALIZES = -1, -2


@dataclass(frozen=True)
class Verdicts:
    """rule: (D,) the position of the rule at which a document is memorized, or UNDECIDED or GENERALIZES.

    low, high: (R, D) the corrected bounds that decided. margin: (D,) how far the nearest bound that the verdict rests
    on is from the margin, nats; NaN where it is undecided.
    """

    rule: Ints
    low: Floats
    high: Floats
    margin: Floats


def verdicts(gap: Floats, se: Floats, degrees: Floats, margin: float = MARGIN, confidence: float = 0.95) -> Verdicts:
    """Decides for every document.

    gap, se, degrees: (R, D), nats per token and degrees of freedom; NaN where a rule says nothing about a document. A
    rule without a standard error decides nothing, and no verdict is passed beyond it: what a finer rule would have said
    is not known. A rule that has no gap at all for a document (it is in no set of the rule) is passed over.
    """
    rules, documents = gap.shape
    there = np.isfinite(gap)
    known = there & np.isfinite(se) & np.isfinite(degrees)
    low, high = np.full(gap.shape, np.nan), np.full(gap.shape, np.nan)
    number = there.sum(axis=0)
    for count in np.unique(number[number > 0]):
        cells = known & (number == count)
        half = t_quantile(degrees[cells], 1 - (1 - confidence) / count) * se[cells]
        low[cells], high[cells] = gap[cells] - half, gap[cells] + half
    rule = np.full(documents, UNDECIDED)
    slack = np.full(documents, np.inf)  # of the bounds below the margin so far
    distance = np.full(documents, np.nan)
    open_ = there.any(axis=0)
    for number_of_rule in range(rules):
        above = open_ & known[number_of_rule] & (low[number_of_rule] > margin)
        rule[above] = number_of_rule
        distance[above] = np.minimum(slack, low[number_of_rule] - margin)[above]
        below = known[number_of_rule] & (high[number_of_rule] < margin)
        slack = np.where(open_ & below, np.minimum(slack, margin - high[number_of_rule]), slack)
        open_ &= ~above & (below | ~there[number_of_rule])
    rule[open_] = GENERALIZES
    distance[open_] = slack[open_]
    return Verdicts(rule, low, high, distance)
