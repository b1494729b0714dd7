"""A text cut at its tokens, each piece with its memorization: what is coloured on the terminal and in a notebook."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Nats from which a token has the first, second, ... shade. Below the first it has none.
SHADES = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Piece:
    """Characters start .. end of a text. score: nats; None between tokens and where it is not known."""

    start: int
    end: int
    score: float | None = None

    @property
    def shade(self) -> int:
        """0 where nothing is to be seen, then 1 to 4 as the score rises, -1 to -4 as it falls below zero."""
        if self.score is None:
            return 0
        steps = sum(abs(self.score) >= least for least in SHADES)
        return steps if self.score > 0 else -steps


def pieces(tokens: Sequence[Mapping[str, Any]], length: int) -> list[Piece]:
    """All characters of the text, in order. tokens: start, end, memorization, by position; length: of the text.

    Characters that several tokens share (bytes of one character) are one piece, with the highest of their scores.
    """
    found: list[Piece] = []
    for token in tokens:
        start, end, score = token["start"], token["end"], token["memorization"]
        last = found[-1].end if found else 0
        if start < last and found:
            before = found.pop()
            known = [value for value in (before.score, score) if value is not None]
            found.append(Piece(before.start, max(last, end), max(known, default=None)))
            continue
        if start > last:
            found.append(Piece(last, start))
        if end > start:
            found.append(Piece(start, end, score))
    last = found[-1].end if found else 0
    return [*found, Piece(last, length)] if last < length else found
