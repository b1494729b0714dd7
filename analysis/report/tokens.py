"""Texts in pieces that are coloured by the memorization of their tokens, for many documents at a time.

Shapes: M splits that count, C chosen documents, n tokens of one text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report.packing import scaled
from memo.estimators import memorization
from memo.text import for_text_node
from memo.token_scores import read_many, spans_of

if TYPE_CHECKING:
    from memo.campaign import Campaign


class Coins(Protocol):
    """The sides of one rule for the chosen documents: (M, C) each."""

    @property
    def rule(self) -> str: ...
    @property
    def treated(self) -> NDArray[np.bool_]: ...
    @property
    def valid(self) -> NDArray[np.bool_]: ...


def coloured_texts(
    campaign: "Campaign", chosen: NDArray[np.int64], texts: Sequence[Any], sides: Sequence[Coins], most: int
) -> dict[int, dict[str, Any]]:
    """Document -> its first `most` characters in pieces, and for every rule the score of each piece.

    A character of several tokens makes one piece with them, which has the highest of their scores. Documents whose
    losses were not kept by the token are left out.
    """
    splits = campaign.splits_that_count(allow_partial=True) if sides else []
    kept = read_many(campaign.layout, splits, [int(column) for column in chosen])
    known = {int(c): text for c, text in zip(chosen, texts, strict=True) if int(c) in kept and isinstance(text, str)}
    if not known:
        return {}
    blocks = campaign.blocks(np.asarray(splits))
    spans = spans_of(campaign.layout, known)
    place = {int(column): number for number, column in enumerate(chosen)}
    scores = {
        side.rule: _scores(side, {column: kept[column] for column in known}, place, blocks)
        for side in sides
        if side.valid.any()
    }
    found = {}
    for column, text in known.items():
        starts, owner = pieces_of(spans[column], most)
        found[column] = {
            "pieces": _texts(text[:most], starts),
            "rules": {rule: scaled(_highest(of[column], owner, len(starts))) for rule, of in scores.items()},
        }
    return found


def _scores(
    side: Coins,
    losses: dict[int, NDArray[np.float32]],
    place: dict[int, int],
    blocks: NDArray[np.int64] | None,
) -> dict[int, NDArray[np.float64]]:
    """(n,) the score of every token of each document, by one call."""
    columns = list(losses)
    lengths = [losses[column].shape[1] for column in columns]
    owner = np.repeat([place[column] for column in columns], lengths)
    matrix = np.concatenate([losses[column] for column in columns], axis=1)
    found = memorization(matrix, side.treated[:, owner], side.valid[:, owner], blocks).memorization
    return dict(zip(columns, np.split(found, np.cumsum(lengths)[:-1]), strict=True))


def pieces_of(spans: pd.DataFrame, most: int) -> tuple[list[int], NDArray[np.int64]]:
    """Where the pieces begin, the first at 0, and for every token its piece; -1 beyond `most` characters.

    A piece ends where the next begins, so that nothing of the text is lost between tokens.
    """
    starts: list[int] = []
    owner = np.full(len(spans), -1, dtype=np.int64)
    end = 0
    for number, (start, stop) in enumerate(zip(spans["start"].tolist(), spans["end"].tolist(), strict=True)):
        if start >= most:
            break
        if not starts or start >= end:
            starts.append(start if starts else 0)
        end = max(end, stop)
        owner[number] = len(starts) - 1
    return starts or [0], owner


def _texts(text: str, starts: list[int]) -> list[str]:
    return [for_text_node(text[a:b]) for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def _highest(scores: NDArray[np.float64], owner: NDArray[np.int64], pieces: int) -> NDArray[np.float64]:
    highest = np.full(pieces, np.nan)
    shown = owner >= 0
    np.fmax.at(highest, owner[shown], scores[shown])
    return highest
