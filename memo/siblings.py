"""The score of a single document by how many of its siblings were in the split.

A near-copy in the split makes up for the document that was left out, so the score of one copy falls with the number of
others that are present. The document score of a ladder is a mean over that number; here it is taken apart, from the
same models.

Shapes: M splits, N documents, R documents that stand in groups of two or more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.contrasts import Contrast
from memo.groups import Groups, Index

Bools = NDArray[np.bool_]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class SiblingScore:
    """Mean over groups of the mean over their documents. Nats per token."""

    siblings: int  # other documents of the group in the split
    memorization: float
    se: float  # over groups; NaN for one group
    ci_low: float
    ci_high: float
    groups: int
    documents: int
    losses_in: int  # losses of models that had the document, over all documents
    losses_out: int


def scores_by_siblings(
    losses: NDArray[np.floating], included: Bools, documents: Contrast, groups: Groups
) -> list[SiblingScore]:
    """One entry per number of siblings. losses, included: (M, N); documents: the contrast of single documents.

    For each document and number of siblings: mean loss of the splits whose own coin left it out - mean loss of those
    whose own coin took it in; a document with an empty side does not count for that number. Groups, not documents, are
    the sample: the documents of one group share their models.
    """
    if not groups.is_partition:
        raise ValueError("siblings are counted in groups that do not overlap")
    rows = np.flatnonzero(groups.sizes[groups.group] > 1)
    document, group = groups.document[rows], groups.group[rows]
    present = np.zeros((len(losses), len(groups.ids)), dtype=np.int64)
    for split, row in enumerate(included):
        present[split] = np.bincount(groups.group, weights=row[groups.document], minlength=len(groups.ids))
    siblings = present[:, group] - included[:, document]  # (M, R)
    treated, valid = documents.treated[:, document], documents.valid[:, document]
    values = np.asarray(losses, dtype=np.float64)[:, document]
    largest = int(groups.sizes.max(initial=1))
    found = [_at(number, siblings, values, treated, valid, group) for number in range(largest)]
    return [score for score in found if score is not None]


def _at(
    number: int, siblings: NDArray[np.int64], values: NDArray[np.float64], treated: Bools, valid: Bools, group: Index
) -> SiblingScore | None:
    here = valid & (siblings == number)
    sides = [here & treated, here & ~treated]
    counts = [side.sum(axis=0) for side in sides]
    both = (counts[0] > 0) & (counts[1] > 0)
    if not both.any():
        return None
    mean_in, mean_out = (
        np.where(side, values, 0.0).sum(axis=0)[both] / count[both] for side, count in zip(sides, counts, strict=True)
    )
    _, of_group = np.unique(group[both], return_inverse=True)
    by_group = np.bincount(of_group, weights=mean_out - mean_in) / np.bincount(of_group)
    mean, se, low, high = _interval(by_group)
    return SiblingScore(
        number,
        mean,
        se,
        low,
        high,
        len(by_group),
        int(both.sum()),
        int(counts[0][both].sum()),
        int(counts[1][both].sum()),
    )


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Mean, standard error and the ends of Student's interval; NaN where one value has no spread."""
    from scipy import special

    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan"), float("nan")
    se = float(values.std(ddof=1) / np.sqrt(len(values)))
    half = float(special.stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2)) * se
    return mean, se, mean - half, mean + half
