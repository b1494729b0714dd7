"""A topic by its words: every document in which some of them stand, as one group.

    {name: frogs, rule: keywords, words: [frog, frogs, toad, lily pad], min_matches: 2}
    {name: frogs, rule: keywords, path: frogs.txt}

The file has a word on each line, UTF-8, empty lines apart; its path is relative to the campaign file. An entry of
several words is a phrase.

A word is a run of letters, digits and marks (\\w of the package `regex`, that is Unicode Technical Standard 18), so
`frog` is not found in "frogs" or "leapfrog", and "don't" is the phrase don, t. A phrase is found where its words follow
each other, whatever stands between them. Texts and words are compared in Unicode form NFC and case-folded;
`ignore_case: false` lets case count. `min_matches`: least number of places in a document where an entry stands, 1 by
default; the same word twice counts twice.

The label is the name of the rule. Found in no document is an error; in one, a notice: that group is the document.
`attrs["notes"]`: entries, never_found (entries that stand nowhere), and those of `subsets.one_group`.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import regex

from memo.errors import RuleError
from memo.rules import rule
from subsets.one_group import one_group, shown

_WORD: Final = regex.compile(r"\w+")
_EXAMPLES: Final = 5

Phrase = tuple[str, ...]


@rule("keywords")
def keywords(
    documents: pd.DataFrame,
    words: Sequence[str] | str | None = None,
    path: str | None = None,
    min_matches: int = 1,
    ignore_case: bool = True,
    name: str = "keywords",
) -> pd.Series:
    """The label `name` for each document with `min_matches` places or more where one of the words stands.

    Exactly one of words and path, a file. name: of the rule in the campaign file.
    """
    if not isinstance(min_matches, int) or isinstance(min_matches, bool) or min_matches < 1:
        raise RuleError(f"rule {name!r}: min_matches: expected a whole number from 1, found {min_matches!r}")
    if not isinstance(ignore_case, bool):
        raise RuleError(f"rule {name!r}: ignore_case: expected true or false, found {ignore_case!r}")
    if (words is None) == (path is None):
        found = "neither" if words is None else "both"
        raise RuleError(f"rule {name!r}: expected exactly one of words and path, found {found}")
    entries = _entries(name, _read(name, path) if words is None else words, ignore_case)
    lengths = sorted({len(phrase) for phrase in entries})
    seen: Counter[Phrase] = Counter()
    counts = np.zeros(len(documents), dtype=np.int64)
    for position, text in enumerate(documents["text"]):
        matches = _matches(_words(text, ignore_case), entries, lengths)
        counts[position] = len(matches)
        seen.update(matches)
    sought = "the words " + ", ".join(shown(entry) for entry in list(entries.values())[:_EXAMPLES])
    sought += ", …" if len(entries) > _EXAMPLES else ""
    hint = "check them, add other forms of the words, or lower min_matches"
    labels = one_group(name, counts >= min_matches, documents, sought, hint)
    never = [entry for phrase, entry in entries.items() if phrase not in seen]
    labels.attrs["notes"] |= {"entries": len(entries), "never_found": never}
    return labels


def _words(text: str, ignore_case: bool) -> list[str]:
    text = unicodedata.normalize("NFC", text)
    if ignore_case:
        text = unicodedata.normalize("NFC", text.casefold())  # folding can undo it
    found: list[str] = _WORD.findall(text)
    return found


def _matches(words: list[str], entries: dict[Phrase, str], lengths: list[int]) -> list[Phrase]:
    """The entry of each place where one stands; phrases may overlap."""
    return [
        phrase
        for length in lengths
        for phrase in zip(*(words[start:] for start in range(length)), strict=False)
        if phrase in entries
    ]


def _entries(name: str, words: Any, ignore_case: bool) -> dict[Phrase, str]:
    """Words of each entry -> the entry as it was given."""
    if isinstance(words, str):
        words = [words]
    if not isinstance(words, Sequence) or not words:
        raise RuleError(f"rule {name!r}: words: expected a list of words, found {words!r}")
    entries: dict[Phrase, str] = {}
    for word in words:
        if not isinstance(word, str):
            raise RuleError(f"rule {name!r}: words: expected text, found {word!r}; put it in quotes")
        phrase = tuple(_words(word, ignore_case))
        if not phrase:
            raise RuleError(f"rule {name!r}: words: expected letters or digits, found {shown(word)}; leave it out")
        entries.setdefault(phrase, word)
    return entries


def _read(name: str, path: Any) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, TypeError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RuleError(
            f"rule {name!r}: path: expected a UTF-8 file with a word on each line, found {path!r}: {reason}"
        ) from error
    entries = [line.strip() for line in lines if line.strip()]
    if not entries:
        raise RuleError(f"rule {name!r}: path: expected a word on each line of {path}, found none")
    return entries
