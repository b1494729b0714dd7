"""Exact copies: the same text after Unicode and white-space normalization.

Two documents are copies when their texts are equal in Unicode form NFC (Unicode Standard Annex 15) with every run of
white space read as one space and none at the ends. Case and punctuation count.
"""

import hashlib
import unicodedata

import pandas as pd

from memo.rules import rule

LABEL_BYTES = 16  # a collision of 128-bit labels is out of reach, by accident


def normalized(text: str) -> str:
    """The form in which texts are compared."""
    return " ".join(unicodedata.normalize("NFC", text).split())


@rule("exact")
def exact(documents: pd.DataFrame) -> pd.Series:
    """Every document is in a group; one that has no copy is a group of its own."""
    labels = [
        hashlib.blake2b(normalized(text).encode(), digest_size=LABEL_BYTES).hexdigest() for text in documents["text"]
    ]
    return pd.Series(labels, index=documents.index, dtype=object)
