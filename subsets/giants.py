"""Groups so large that removing them is no small change: named, so that a reader looks at them, and never split."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GIANT_SHARE: Final = 0.05  # of the documents
GIANT_DOCUMENTS: Final = 10
_MOST: Final = 20  # of overlapping groups there may be thousands


def giants(labels: Sequence[str], documents: NDArray[np.int64], total: int) -> list[dict[str, Any]]:
    """Groups with more than 5 % of the documents and 10 of them, the largest 20 first: group_id, documents, share.

    labels, documents: of S groups, the label and (S,) the number of documents. total: documents of the corpus.
    """
    large = np.flatnonzero((documents >= GIANT_DOCUMENTS) & (documents > GIANT_SHARE * total))
    ordered = sorted(large.tolist(), key=lambda group: (-documents[group], labels[group]))
    return [
        {
            "group_id": labels[group],
            "documents": int(documents[group]),
            "share": round(float(documents[group] / total), 4),
        }
        for group in ordered[:_MOST]
    ]
