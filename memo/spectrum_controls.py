"""Phantoms on the spectrum: how often texts that no model saw are called memorized.

    table = spectrum_controls(campaign)          a row for every phantom and set, with the columns of a spectrum
    false_calls(campaign)                        how many are called memorized, at the margin and at a margin of 0

Each phantom stands in for a document drawn at random: its losses are taken for the document's, under the same coins,
groups, sets and splits, so that each rule of the campaign is asked as often as of a real document. Documents are drawn
from those in groups of two or more where there are enough: these are asked the most. All gaps of a phantom are null but
for what so many tokens less do, which is taken off a set's gap and not off a rung's.

Bounds hold together with 95 % confidence for each text, so at most 5 % of phantoms should be called memorized even at a
margin of 0; at a larger margin fewer.

Shapes: M splits, N documents, P phantoms.
"""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memo.estimators import knockout, memorization_of, size_curve, sums
from memo.estimators.verdicts import MARGIN
from memo.groups import Index
from memo.seeding import generator
from memo.spectrum import COLUMNS, NO_VALUE, base_rules, campaign_sets, finished, nesting_of, rows_of_sets

if TYPE_CHECKING:
    from memo.campaign import Campaign

LEVEL = 0.05  # of the phantoms, at most


@dataclass(frozen=True)
class FalseCalls:
    """How many phantoms are called memorized. `expected`: at most so many."""

    phantoms: int
    memorized: int
    memorized_at_zero: int
    expected: float


def spectrum_controls(
    campaign: "Campaign", evaluation: int = -1, margin: float = MARGIN, allow_partial: bool = False
) -> pd.DataFrame:
    """Columns as in `memo.spectrum.COLUMNS`, and `stands_for`, the document whose coins a phantom has.

    Empty where the campaign has no phantoms.
    """
    return _with_verdicts(campaign, _gaps(campaign, evaluation, allow_partial), margin)


def false_calls(
    campaign: "Campaign", evaluation: int = -1, margin: float = MARGIN, allow_partial: bool = False
) -> FalseCalls:
    """Verdicts on the phantoms, at this margin and at 0."""
    gaps = _gaps(campaign, evaluation, allow_partial)
    called = [_memorized(_with_verdicts(campaign, gaps, at)) for at in (margin, 0.0)]
    number = gaps["doc_id"].nunique()
    return FalseCalls(number, called[0], called[1], LEVEL * number)


def false_calls_in_words(found: FalseCalls | dict[str, float]) -> str | None:
    """A line for people; None where there are no phantoms."""
    values = asdict(found) if isinstance(found, FalseCalls) else found
    if not values["phantoms"]:
        return None
    return (
        f"phantoms in the place of documents: {values['memorized']} of {values['phantoms']} called memorized, "
        f"{values['memorized_at_zero']} at a margin of 0 (at most {values['expected']:.1f} expected)"
    )


def _memorized(table: pd.DataFrame) -> int:
    return int((table.drop_duplicates("doc_id")["verdict"] == "memorized").sum())


def _with_verdicts(campaign: "Campaign", gaps: pd.DataFrame, margin: float) -> pd.DataFrame:
    return finished(campaign, gaps, margin)[[*COLUMNS, "stands_for"]]


def _gaps(campaign: "Campaign", evaluation: int, allow_partial: bool) -> pd.DataFrame:
    """Of every phantom under every rule, as `finished` takes them."""
    texts = campaign.control_texts()
    phantoms = texts[texts["kind"] == "phantom"]
    used = np.asarray(campaign.splits_that_count(allow_partial), dtype=np.int64)
    losses = campaign.columns("loss", used.tolist(), evaluation, phantoms["column"].to_numpy()).reshape(len(used), -1)
    document = _stand_ins(campaign, len(phantoms))
    losses, names = losses[:, : len(document)], phantoms["doc_id"].tolist()[: len(document)]
    parts = [_base(campaign, rule, losses, document, used) for rule in base_rules(campaign)]
    if campaign.config.design.knockout is not None:
        parts.append(_removed(campaign, losses, document, used, evaluation))
    table = pd.concat(parts, ignore_index=True)
    table["stands_for"] = [campaign.doc_ids[document[place]] for place in table["place"]]
    return table.assign(doc_id=[names[place] for place in table["place"]])


def _stand_ins(campaign: "Campaign", number: int) -> Index:
    """Documents whose coins the phantoms have: (P,), no two alike."""
    rules = [rule for rule in campaign.rules() if campaign.has_groups(rule)]
    often = np.zeros(len(campaign.doc_ids), dtype=bool)
    for rule in rules:
        groups = campaign.scored_groups(rule)
        often[groups.document[groups.sizes[groups.group] > 1]] = True
    order = generator("spectrum controls", seed=campaign.config.seed).permutation(len(often))
    return np.concatenate([order[often[order]], order[~often[order]]])[:number]


def _base(campaign: "Campaign", rule: str, losses: NDArray[np.floating], document: Index, used: Index) -> pd.DataFrame:
    scored = campaign.scored_rule(rule, used.tolist())
    groups = scored.groups
    place = np.full(len(campaign.doc_ids), -1)
    place[document] = np.arange(len(document))
    rows = np.flatnonzero(place[groups.document] >= 0)
    group, text = groups.group[rows], place[groups.document[rows]]
    if rule != "document":  # one that is alone in its group has the score of the document itself, once
        several = groups.sizes[group] > 1
        group, text = group[several], text[several]
    treated, valid = scored.contrast.sides(slice(None), group)
    counts = None if valid is None else valid.astype(bool)
    block_of = np.zeros(len(used), dtype=np.int64) if scored.blocks is None else scored.blocks
    values = losses[:, text]
    found = memorization_of(sums(values, treated.astype(bool), counts, block_of)) if len(text) else None
    numbers = {} if found is None else {"gap": found.memorization, "se": found.se, "degrees": found.degrees}
    return pd.DataFrame(
        {
            "place": text,
            "rule": rule,
            "group_id": [groups.ids[g] for g in group],
            "group_size": groups.sizes[group],
            "nesting": nesting_of(campaign, rule),
            "removed_share": scored.removed_share[group],
            **(numbers or dict.fromkeys(("gap", "se", "degrees"), np.empty(0))),
            "n_in": np.empty(0, dtype=np.int64) if found is None else found.n_in,
            "n_out": np.empty(0, dtype=np.int64) if found is None else found.n_out,
            **dict.fromkeys(NO_VALUE, math.nan),
        }
    )


def _removed(
    campaign: "Campaign", losses: NDArray[np.floating], document: Index, used: Index, evaluation: int
) -> pd.DataFrame:
    sets, own = campaign_sets(campaign), campaign.losses(evaluation, allow_partial=True)[used]
    included, removed, blocks = campaign.included()[used], campaign.removed()[used], campaign.blocks(used)
    curve = None
    if len(sets.controls):
        curve = size_curve(own, included, removed, sets.members, sets.controls, campaign.n_tokens, blocks)
    own[:, document] = losses
    rows = np.flatnonzero(np.isin(sets.members[0], document) & ~np.isin(sets.members[1], sets.controls))
    found = knockout(own, included, removed, sets.members, campaign.n_tokens, curve, blocks, rows)
    place = np.full(len(campaign.doc_ids), -1)
    place[document] = np.arange(len(document))
    table = rows_of_sets(campaign, sets, rows, found, curve)
    return table.assign(place=place[sets.members[0][rows]])
