"""Documents that a design takes into a split so many times: which they are, their scores by dose, the curve of all.

    copies_scores(campaign)              a row for every copied document and number of copies
    dose_curve_of(table)                 a row for every number of copies

The plain score of such a document (`campaign.scores()`) counts it as in where a split has one copy or more: it is a
mean over the doses, and no score of a single copy. That is score(1).

Shapes: M splits, C copied documents.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memo.errors import UsageError
from memo.estimators.copies import copies_scores as scores_by_dose
from memo.estimators.copies import dose_curve
from memo.groups import Index
from memo.sets import read_copied
from memo.splits import Counts

if TYPE_CHECKING:
    from memo.campaign import Campaign

COLUMNS = {
    "doc_id": "the document",
    "copies": "how often the models on the in side trained on it",
    "memorization": "mean loss at 0 copies - mean loss at so many, nats per token; positive = memorized",
    "se": "standard error of memorization, stratified by block",
    "ci_low": "lower end of the 95 % t interval",
    "ci_high": "upper end of the 95 % t interval",
    "p_value": "two-sided, for a score of zero",
    "loss_in": "mean loss of the models with so many copies, nats per token",
    "loss_out": "mean loss of the models without any",
    "n_in": "splits with so many copies",
    "n_out": "splits without any",
    "n_tokens": "tokens of one copy that are scored",
    "reason": "why a value of the row is missing; empty where none is",
}


def copied_of(campaign: "Campaign") -> tuple[Index, Counts]:
    """Positions of the copied documents, (C,), and how often each split has each: (M, C).

    Raises `UsageError` where the design copies none.
    """
    if campaign.config.design.copies is None:
        raise UsageError(
            f"{campaign.layout.root}: expected a design that copies documents, found none; see design.copies"
        )
    counts = campaign.copy_counts()
    return read_copied(campaign.layout.copied), counts


def copies_scores(campaign: "Campaign", evaluation: int = -1, allow_partial: bool = False) -> pd.DataFrame:
    """Columns as in COLUMNS; a row for every copied document and number of copies but 0."""
    copied, copies = copied_of(campaign)
    splits = np.asarray(campaign.splits_that_count(allow_partial))
    losses: NDArray[np.float32] = campaign.losses(evaluation, allow_partial)[np.ix_(splits, copied)]
    counts = [] if campaign.config.design.copies is None else list(campaign.config.design.copies.counts)
    found = scores_by_dose(losses, copies[splits], counts, blocks=campaign.blocks(splits))
    names = ("memorization", "se", "ci_low", "ci_high", "p_value", "loss_in", "loss_out", "n_in", "n_out", "reason")
    parts = [
        pd.DataFrame(
            {
                "place": copied,
                "doc_id": [campaign.doc_ids[place] for place in copied],
                "copies": dose,
                "n_tokens": campaign.n_tokens[copied],
                **{name: getattr(scores, name) for name in names},
            }
        )
        for dose, scores in found.items()
    ]
    return pd.concat(parts).sort_values(["place", "copies"], ignore_index=True)[list(COLUMNS)]


def dose_curve_of(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over documents for each number of copies: copies, memorization, se, ci_low, ci_high, documents.

    table: as `copies_scores` makes it. The error is that over documents.
    """
    score, dose = table["memorization"].to_numpy(dtype=np.float64), table["copies"].to_numpy()
    curve = dose_curve({int(count): score[dose == count] for count in np.unique(dose)})
    names = ("copies", "memorization", "se", "ci_low", "ci_high", "documents")
    return pd.DataFrame({name: getattr(curve, name) for name in names})
