"""What the page knows of single documents beyond the table: their text, tokens, loss by epoch, and their groups.

    found = document_details(campaign, documents, chosen, scores)

As many documents as fit into `DETAIL_BYTES`, the highest scores first, then a random sample. No file is opened for each
document: losses, tokens and tokenizer are read once for all.

Shapes: M splits that count, E evaluations, C chosen documents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report.packing import SCALE, packed, scaled
from analysis.report.rows import Index, RuleScores, best_scores
from analysis.report.tokens import coloured_texts
from memo import seeding
from memo.contrasts import contrast
from memo.differences import differences
from memo.estimators import memorization
from memo.text import for_text_node

if TYPE_CHECKING:
    from memo.campaign import Campaign

DETAIL_BYTES = 3_500_000  # in the file
MOST = 1_000  # documents
RANDOM_SHARE = 0.2  # of them, drawn at random where not all fit
TEXT = 20_000  # characters of one text
MEMBERS = 8  # of a document's groups, whose differences are marked
MEMBER_TEXT = 4_000  # characters of each


@dataclass(frozen=True)
class Sides:
    """The coins of one rule for the chosen documents."""

    rule: str
    treated: NDArray[np.bool_]  # (M, C)
    valid: NDArray[np.bool_]  # (M, C); nowhere for a document in no group of the rule, or in several


@dataclass(frozen=True)
class Details:
    packed: str
    number: int
    notes: list[str]


def document_details(
    campaign: "Campaign", documents: pd.DataFrame, in_table: Index, scores: list[RuleScores]
) -> Details:
    """Of documents that are in the table. documents: `campaign.documents()`; in_table: positions, rising."""
    best = best_scores(
        [(s, s.frame["doc_id"].map({d: i for i, d in enumerate(documents["doc_id"])}).to_numpy()) for s in scores],
        len(documents),
    )
    order = _order(best, in_table, campaign.config.seed)
    most = len(order)
    while True:
        chosen = np.sort(order[:most])
        text = packed(_all(campaign, documents, chosen, in_table))
        if len(text) <= DETAIL_BYTES or most == 0:
            break
        most //= 2
    return Details(text, most, list(_notes(documents, chosen, in_table)))


def _order(best: NDArray[np.float64], in_table: Index, seed: int) -> Index:
    """The documents to open, the most wanted first: four with a high score for one at random. Not all of them may fit,
    however few they are."""
    ranked = in_table[np.argsort(-best[in_table], kind="stable")]
    most = min(MOST, len(ranked))
    if most < 2:
        return ranked
    top = ranked[: int((1 - RANDOM_SHARE) * most)]
    generator = seeding.generator("report", "details", seed=seed)
    drawn = generator.choice(ranked[len(top) :], most - len(top), replace=False)
    per_draw = len(top) // len(drawn)
    places = np.concatenate([np.arange(len(top)), per_draw * (1 + np.arange(len(drawn))) - 0.5])
    found: Index = np.concatenate([top, drawn])[np.argsort(places, kind="stable")]
    return found


def _all(campaign: "Campaign", documents: pd.DataFrame, chosen: Index, in_table: Index) -> dict[str, Any]:
    row = np.full(len(documents), -1)
    row[in_table] = np.arange(len(in_table))
    everything = documents["text"].tolist()
    texts = [everything[position] for position in chosen]
    sides = list(_sides(campaign, chosen))
    coloured = coloured_texts(campaign, chosen, texts, sides, TEXT)
    epochs = _by_epoch(campaign, chosen, sides)
    members = _members(campaign, chosen, row)
    found = {}
    for place, (position, text) in enumerate(zip(chosen.tolist(), texts, strict=True)):
        known = isinstance(text, str)
        found[int(row[position])] = {
            "text": _cut(text, TEXT) if known else None,
            "left": max(0, len(text) - TEXT) if known else 0,
            "tokens": coloured.get(position),
            "epochs": {rule: rows[place] for rule, rows in epochs.items()},
            "members": [(int(row[other]), _marked(text, everything[other])) for other in members.get(position, ())],
        }
    return {"scale": SCALE, "epochs": list(campaign.config.training.evaluations), "documents": found}


def _cut(text: str, most: int) -> str:
    return for_text_node(text[:most])


def _sides(campaign: "Campaign", chosen: Index) -> Iterator[Sides]:
    """Of every rule whose groups have coins to go by."""
    splits = campaign.trained_splits()
    if not splits:
        return
    splits = campaign.splits_that_count(allow_partial=True)
    asked, treated = campaign.decisions()
    knockout = campaign.config.design.knockout
    for rule in campaign.rules():
        if knockout is not None and rule in knockout.sets:
            continue
        groups = campaign.scored_groups(rule)
        if not len(groups.ids):
            continue
        often = np.bincount(groups.document, minlength=groups.documents)
        own = np.zeros(groups.documents, dtype=np.int64)
        own[groups.document] = groups.group
        coins = contrast(asked[splits], treated[splits], campaign.units, groups)
        group = own[chosen]
        yield Sides(rule, coins.treated[:, group], coins.valid[:, group] & (often[chosen] == 1))


def _by_epoch(campaign: "Campaign", chosen: Index, sides: list[Sides]) -> dict[str, list[Any]]:
    """rule -> for every chosen document, for every evaluation: loss in, loss out, score, low and high end."""
    splits = campaign.splits_that_count(allow_partial=True) if sides else []
    evaluations = range(len(campaign.config.training.evaluations))
    if len(evaluations) < 2 or not splits or not len(chosen):
        return {}
    blocks = campaign.blocks(np.asarray(splits))
    losses = [campaign.columns("loss", splits, evaluation, chosen) for evaluation in evaluations]
    found: dict[str, list[Any]] = {}
    for side in sides:
        of_epochs = []
        for matrix in losses:
            scored = memorization(matrix, side.treated, side.valid, blocks)
            names = ("loss_in", "loss_out", "memorization", "ci_low", "ci_high")
            of_epochs.append([scaled(getattr(scored, name)) for name in names])
        found[side.rule] = [[[part[c] for part in epoch] for epoch in of_epochs] for c in range(len(chosen))]
    return found


def _members(campaign: "Campaign", chosen: Index, row: Index) -> dict[int, list[int]]:
    """The first few other documents of each document's groups that are in the table, of the finest rule first."""
    wanted = set(chosen.tolist())
    found: dict[int, dict[int, None]] = {position: {} for position in wanted}
    for rule in campaign.rules()[1:]:
        groups = campaign.scored_groups(rule)
        order = np.argsort(groups.group, kind="stable")
        starts = np.searchsorted(groups.group[order], np.arange(len(groups.ids) + 1))
        mine = np.flatnonzero(np.isin(groups.document, chosen) & (groups.sizes[groups.group] > 1))
        for place in mine.tolist():
            position, group = int(groups.document[place]), int(groups.group[place])
            for other in groups.document[order[starts[group] : starts[group + 1]]].tolist():
                if len(found[position]) >= MEMBERS:
                    break
                if other != position and row[other] >= 0:
                    found[position].setdefault(other)
    return {position: list(others) for position, others in found.items()}


def _marked(text: Any, other: Any) -> dict[str, Any] | None:
    """The text of a member in pieces, in turn alike and different; `lacking`: what this text has and it has not."""
    if not isinstance(text, str) or not isinstance(other, str):
        return None
    spans, complete = differences(text[:TEXT], other[:TEXT])
    pieces: list[tuple[int, str, str]] = []  # 1 where they differ, the member's words, this text's words
    at = 0
    for span in spans:
        pieces.append((0, other[at : span.other_start], ""))
        pieces.append((1, other[span.other_start : span.other_end], text[span.start : span.end]))
        at = span.other_end
    pieces.append((0, other[at:], ""))
    shown, room = [], MEMBER_TEXT
    for differs, words, instead in pieces:
        if room <= 0:
            break
        shown.append([differs, _cut(words, room), _cut(instead, room)])
        room -= len(words)
    return {"pieces": shown, "cut": room < 0, "complete": complete and max(len(text), len(other)) <= TEXT}


def _notes(documents: pd.DataFrame, chosen: Index, in_table: Index) -> Iterator[str]:
    if len(chosen) < len(in_table):
        yield (
            f"{len(chosen):,} documents can be opened in full, four of five those with the highest scores, the others "
            "drawn at random; of the others the table has the beginning, and memo show DIR DOC the rest."
        )
    lengths = documents["text"].iloc[chosen].dropna().str.len()
    if len(lengths) and lengths.max() > TEXT:
        yield f"Of {int((lengths > TEXT).sum()):,} long texts the first {TEXT:,} characters are shown."
