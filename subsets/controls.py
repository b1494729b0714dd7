"""Texts of memo's own, by which a campaign checks itself: phantoms, which no model trains on, and canaries.

A control is a row of words drawn at random from the corpus, so it looks like nothing that anybody wrote and every model
can spell it. A *phantom* gets coins and is never trained on, whatever they say: its score must be null. A *canary* is
trained on where its coin says so, as often as its number of copies: its score must rise with them.

Held-out evaluation texts serve as phantoms before any are made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memo.seeding import generator

COPIES = (1, 2, 4, 8)  # of the canaries, in turn
WORDS = 24
LONGEST_WORD = 20  # characters
PHANTOMS, CANARIES = 32, 16
CANARY_SHARE = 0.02  # of the tokens of the corpus, at most, where the number is not given
PHANTOM, CANARY = "phantom", "canary"


@dataclass(frozen=True)
class Control:
    """A phantom (0 copies) or a canary."""

    doc_id: str
    text: str
    copies: int

    @property
    def kind(self) -> str:
        return CANARY if self.copies else PHANTOM


def make_phantoms(texts: Sequence[str], number: int, seed: int) -> list[Control]:
    """So many phantoms, from the words of these texts."""
    rng = generator("controls", PHANTOM, seed=seed)
    return [Control(f"{PHANTOM}:{i:04d}", words_at_random(texts, rng), 0) for i in range(number)]


def make_canaries(texts: Sequence[str], number: int, seed: int) -> list[Control]:
    """So many canaries of 1, 2, 4, 8, 1, ... copies."""
    rng = generator("controls", CANARY, seed=seed)
    return [Control(f"{CANARY}:{i:04d}", words_at_random(texts, rng), COPIES[i % len(COPIES)]) for i in range(number)]


def words_at_random(texts: Sequence[str], rng: np.random.Generator) -> str:
    """WORDS words, each from a document of its own."""
    words: list[str] = []
    while len(words) < WORDS:
        found = texts[int(rng.integers(len(texts)))].split()
        words.append(found[int(rng.integers(len(found)))][:LONGEST_WORD] if found else "-")
    return " ".join(words)


def phantoms_for(documents: int) -> int:
    """How many phantoms a corpus of this size gets: they cost their evaluation only."""
    return min(PHANTOMS, documents // 4)


def canaries_for(corpus_tokens: int, n_tokens: Sequence[int]) -> int:
    """How many canaries stay below CANARY_SHARE of the corpus, in whole sets of 1, 2, 4 and 8 copies.

    n_tokens: of CANARIES canaries, each once.
    """
    kept = spent = 0
    for begin in range(0, len(n_tokens), len(COPIES)):
        spent += sum(c * n for c, n in zip(COPIES, n_tokens[begin : begin + len(COPIES)], strict=True))
        if spent > CANARY_SHARE * corpus_tokens:
            break
        kept = begin + len(COPIES)
    return kept
