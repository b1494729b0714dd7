"""Which words of one text differ from another's: what near-duplicates of a group do not share.

    spans, complete = differences(text, other)

The work is bounded, whatever the texts: what both begin and end with is taken off, and where too much is left in
between it is one difference as a whole.
"""

import difflib
import re
from dataclasses import asdict, dataclass
from typing import Any

# Words, signs one by one, and Chinese and Japanese character by character: they are written without spaces.
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_HAN}]|(?:(?![{_HAN}])\\w)+|[^\\w\\s]")
CHARACTERS = 1_000_000  # longer texts are not compared
WORDS = 1_500  # of each text, after what both begin and end with
COMPARISONS = 2_000_000  # pairs of equal words, which the search looks at


@dataclass(frozen=True)
class Span:
    """A run of words, as characters start .. end of each text; an empty run where a text lacks them."""

    start: int
    end: int
    other_start: int
    other_end: int


def differences(text: str, other: str) -> tuple[list[Span], bool]:
    """The runs of words in which two texts differ, and whether they were looked at word by word throughout.

    White space does not count.
    """
    if text == other:
        return [], True
    if max(len(text), len(other)) > CHARACTERS:
        return [Span(0, len(text), 0, len(other))], False
    mine, others = ([(m.start(), m.end()) for m in _WORD.finditer(each)] for each in (text, other))
    words, other_words = ([each[a:b] for a, b in places] for each, places in ((text, mine), (other, others)))
    first = _shared(words, other_words)
    last = _shared(words[first:][::-1], other_words[first:][::-1])
    cut, other_cut = (each[first : len(each) - last] for each in (words, other_words))
    found, complete = _runs(cut, other_cut)
    return [
        Span(*_characters(mine, first + a, first + b), *_characters(others, first + c, first + d))
        for a, b, c, d in found
    ], complete


def as_data(spans: list[Span]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(span) for span in spans]


def _shared(first: list[str], second: list[str]) -> int:
    """Words that both begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


def _runs(first: list[str], second: list[str]) -> tuple[list[tuple[int, int, int, int]], bool]:
    """Where they differ, in words."""
    if not first and not second:
        return [], True
    counts = [dict.fromkeys(words, 0) for words in (first, second)]
    for count, words in zip(counts, (first, second), strict=True):
        for word in words:
            count[word] += 1
    pairs = sum(number * counts[1].get(word, 0) for word, number in counts[0].items())
    if max(len(first), len(second)) > WORDS or pairs > COMPARISONS:
        return [(0, len(first), 0, len(second))], False
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    return [(a, b, c, d) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal"], True


def _characters(places: list[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """Words start .. end - 1 as characters; an empty run stands after the word before it."""
    if start < end:
        return places[start][0], places[end - 1][1]
    before = places[start - 1][1] if start else 0
    return before, before
