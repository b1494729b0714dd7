"""The same value of a metadata column: every document of one site, one author, one year.

    {name: site, rule: field, column: source}

The column is one of `corpus.metadata`. Values are compared and kept as text, as they are: case and spaces count. A
missing or empty value is no group. A label is the value.

`attrs["notes"]`: values (different ones), unlabelled (documents without), giants (`subsets.giants`), notice.
"""

import difflib
from typing import Any, Final

import numpy as np
import pandas as pd

from memo.errors import RuleError
from memo.rules import rule
from subsets.giants import giants

OWN_COLUMNS: Final = ("doc_id", "text", "n_tokens")


@rule("field")
def field(documents: pd.DataFrame, column: str) -> pd.Series:
    """The value of the column as a label; None where it is missing or empty."""
    _check(documents, column)
    values = [
        None if missing else str(value)
        for value, missing in zip(documents[column], documents[column].isna(), strict=True)
    ]
    labels = pd.Series([value or None for value in values], index=documents.index, dtype=object)
    counts = labels.value_counts()
    notes: dict[str, Any] = {
        "values": len(counts),
        "unlabelled": int(labels.isna().sum()),
        "giants": giants([str(label) for label in counts.index], np.array(counts, dtype=np.int64), len(documents)),
    }
    if len(documents) and not (counts > 1).any():
        notes["notice"] = f"no two documents have the same {column!r}: this says no more than the documents themselves"
    labels.attrs["notes"] = notes
    return labels


def _check(documents: pd.DataFrame, column: Any) -> None:
    known = [str(name) for name in documents.columns if name not in OWN_COLUMNS]
    if column in known:
        return
    close = difflib.get_close_matches(str(column), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise RuleError(
        f"rule 'field': column: expected a metadata column ({', '.join(known) or 'this corpus has none'}), "
        f"found {column!r}; {hint}name more in corpus.metadata"
    )
