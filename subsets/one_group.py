"""Rules with one group: the documents that have something, against all others."""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memo.errors import RuleError
from subsets.giants import giants

LEAST: Final = 2  # a group of one is that document, which is always a rule of its own
_SHOWN: Final = 60  # characters


def one_group(name: str, found: NDArray[np.bool_], documents: pd.DataFrame, sought: str, hint: str) -> pd.Series:
    """The label `name` for the documents that were found; what is unusual about them in `attrs["notes"]`.

    found: (N,). sought: what was looked for, for messages. Raises `RuleError` where no document has it.
    """
    count = int(found.sum())
    told = f"found in {count:,} of {len(documents):,} documents; expected at least {LEAST}"
    if len(documents) and not count:
        raise RuleError(f"rule {name!r}: {sought} {told}; {hint}")
    notes: dict[str, Any] = {
        "documents": len(documents),
        "found_in": count,
        "giants": giants([name], np.array([count]), len(documents)),
    }
    if 0 < count < LEAST:
        doc_id = documents["doc_id"].to_numpy()[found][0]
        notes["notice"] = f"{sought} {told}, or this says no more than the document {doc_id!r} itself"
    labels = pd.Series([name if each else None for each in found], index=documents.index, dtype=object)
    labels.attrs["notes"] = notes
    return labels


def shown(text: str) -> str:
    """A literal as messages show it: one line, not too long."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
