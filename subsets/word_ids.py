"""Texts as numbers: which word stands where, exactly, for rules that compare passages.

    words = word_ids(texts)
    words.ids[words.offsets[t] : words.offsets[t + 1]]       # the words of text t
    words.text(start, length)                                # back again

Texts are read in Unicode form NFC. A word is what stands between white space, with its punctuation and case. Equal
numbers are equal words: no hash is trusted. Numbers follow the order of the words, not that of the texts.

Costs about 0.2 microseconds a word, 4 bytes a word, and each different word once.

Shapes: T texts, W words (or characters) of all texts.
"""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Numbered:
    """All texts, one after the other."""

    ids: Ids  # (W,)
    offsets: NDArray[np.int64]  # (T + 1,)
    spelled: Callable[[Ids], str]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def text(self, start: int, length: int) -> str:
        """The words from `start` on, or the characters."""
        return self.spelled(self.ids[start : start + length])


class _Vocabulary(dict[str, int]):
    """A number for each word in the order in which they come."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def word_ids(texts: Iterable[str]) -> Numbered:
    """Words of texts."""
    vocabulary = _Vocabulary()
    parts = [np.empty(0, np.int32)]
    for text in texts:
        words = unicodedata.normalize("NFC", text).split()
        parts.append(np.fromiter(map(vocabulary.__getitem__, words), np.int32, count=len(words)))
    known = sorted(vocabulary)
    rank = np.empty(len(known), dtype=np.int32)
    rank[[vocabulary[word] for word in known]] = np.arange(len(known), dtype=np.int32)
    return Numbered(rank[np.concatenate(parts)], _offsets(parts), lambda ids: " ".join(known[i] for i in ids.tolist()))


def character_ids(texts: Iterable[str]) -> Numbered:
    """Characters of texts, with each run of white space as one space and none at the ends. A number is a code point."""
    parts = [np.empty(0, np.int32)]
    for text in texts:
        form = " ".join(unicodedata.normalize("NFC", text).split())
        parts.append(np.frombuffer(form.encode("utf-32-le"), dtype="<i4").astype(np.int32))
    return Numbered(np.concatenate(parts), _offsets(parts), lambda ids: "".join(map(chr, ids.tolist())))


def _offsets(parts: list[Ids]) -> NDArray[np.int64]:
    """The first part is empty, so this begins with 0."""
    return np.cumsum([len(part) for part in parts], dtype=np.int64)
