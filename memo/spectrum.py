"""From memorization to generalization: every document under every rule of a campaign, and what follows.

    entries = spectrum(campaign)                 a row for every document and set
    summary = corpus_spectrum(entries)           a row for every rule

A rule's place: nesting first (the rungs of the design, the document the finest), then the share of a split's tokens
that its removal takes. Complexity in bits = log2(rules that the campaign tried) + 8 x bytes of the rule's literals and
parameters: a set that some complicated rule had to be searched for says less.

The gap that decides is a base rule's score, and the excess of a set that is removed whole: what is left of its effect
when the loss of so many tokens is taken away. Where no control sets say how large that is, it is the total.
"""

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memo.design_settings import DOCUMENT_RULE
from memo.errors import UsageError
from memo.estimators import Effect, Knockout, SizeCurve, knockout, size_curve, verdicts
from memo.estimators.student import degrees_of
from memo.estimators.verdicts import GENERALIZES, MARGIN, UNDECIDED
from memo.sets import Sets, read_sets
from memo.store import read_record

if TYPE_CHECKING:
    from memo.campaign import Campaign

COLUMNS = {
    "doc_id": "the document",
    "rule": "the duplication rule",
    "group_id": "the group or set; under the rule `document` the document itself",
    "group_size": "documents in it",
    "nesting": "0 for the document, rising with the rungs of the design; rules whose sets may overlap come last",
    "removed_share": "tokens of the set / expected training tokens of a split",
    "bits": "log2(rules tried) + 8 x bytes of the rule's literals and parameters",
    "gap": "nats per token; the score of a base rule, the excess of a set that is removed whole",
    "se": "standard error of the gap",
    "ci_low": "lower end of the gap's interval, corrected over the document's rules",
    "ci_high": "upper end of it",
    "total": "mean loss with the set removed - mean loss with set and document there; NaN for a base rule",
    "size": "what of the total comes from having fewer tokens",
    "excess": "total - size",
    "rest": "what the set adds beyond the document itself",
    "n_in": "splits that have the set and the document",
    "n_out": "splits without the set",
    "tokens_in": "mean tokens of the set, the document apart, in the first",
    "tokens_out": "and in the others",
    "verdict": "of the document: memorized, generalizes or undecided",
    "verdict_rule": "the finest rule at which it is memorized",
    "verdict_margin": "nats between the margin and the nearest bound that the verdict rests on",
}
NO_VALUE = ("total", "size", "excess", "rest", "tokens_in", "tokens_out")


def campaign_sets(campaign: "Campaign") -> Sets:
    """What the design removes whole; raises `UsageError` where it removes nothing."""
    if campaign.config.design.knockout is None:
        raise UsageError(
            f"{campaign.layout.root}: expected a design that removes sets, found none; see design.knockout"
        )
    return read_sets(campaign.layout.sets, campaign.doc_ids)


def knockout_effects(
    campaign: "Campaign", evaluation: int = -1, allow_partial: bool = False
) -> tuple[Sets, NDArray[np.int64], Knockout, SizeCurve | None]:
    """The sets, the rows of their members that are no controls, what the sets do, and the curve of the controls."""
    sets = campaign_sets(campaign)
    losses = campaign.losses(evaluation, allow_partial)
    used = np.flatnonzero(np.isfinite(losses).any(axis=1))
    data = (losses[used], campaign.included()[used], campaign.removed()[used], sets.members)
    blocks = campaign.blocks(used)
    curve = size_curve(*data, sets.controls, campaign.n_tokens, blocks) if len(sets.controls) else None
    rows = np.flatnonzero(~np.isin(sets.members[1], sets.controls))
    return sets, rows, knockout(*data, campaign.n_tokens, curve, blocks, rows), curve


def knockout_scores(campaign: "Campaign", evaluation: int = -1, allow_partial: bool = False) -> pd.DataFrame:
    """One row for every document of every set: total, size, excess and rest with errors, splits and tokens."""
    sets, rows, found, curve = knockout_effects(campaign, evaluation, allow_partial)
    document, group = sets.members[0][rows], sets.members[1][rows]
    table = pd.DataFrame(
        {
            "doc_id": [campaign.doc_ids[d] for d in document],
            "rule": [sets.rule[s] for s in group],
            "group_id": [sets.group[s] for s in group],
            "group_size": np.bincount(sets.members[1], minlength=sets.count)[group],
            "removed_share": _shares(campaign, sets)[group],
        }
    )
    for name in ("total", "size", "excess", "rest"):
        effect: Effect = getattr(found, name)
        table[name] = effect.value
        for part in ("se", "ci_low", "ci_high", "p_value"):
            table[f"{name}_{part}"] = getattr(effect, part)
    counts = ("n_removed", "n_in", "n_out", "tokens_removed", "tokens_kept")
    table = table.assign(**{name: getattr(found, name) for name in counts})
    table.attrs["size_curve"] = None if curve is None else curve.coefficients.tolist()
    return table


def spectrum(
    campaign: "Campaign", evaluation: int | None = -1, margin: float = MARGIN, allow_partial: bool = False
) -> pd.DataFrame:
    """Columns as in COLUMNS, sorted by document and from the finest to the coarsest rule.

    evaluation: None takes the scores of the last one from their tables on disk. margin: nats per token above which a
    gap counts as memorized.
    """
    parts = [_base(campaign, rule, evaluation, allow_partial) for rule in base_rules(campaign)]
    if campaign.config.design.knockout is not None:
        parts.append(_removed(campaign, -1 if evaluation is None else evaluation, allow_partial))
    table = pd.concat(parts, ignore_index=True)
    position = {doc_id: place for place, doc_id in enumerate(campaign.doc_ids)}
    return finished(campaign, table.assign(place=table["doc_id"].map(position)), margin)[list(COLUMNS)]


def finished(campaign: "Campaign", gaps: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Sorted, with bits, corrected intervals and verdicts. gaps: a row for every text and set, texts numbered by
    `place`."""
    bits = {rule: _bits(campaign, rule) for rule in gaps["rule"].unique()}
    table = gaps.assign(bits=gaps["rule"].map(bits).astype(float))
    table = table.sort_values(["place", "nesting", "removed_share", "rule", "group_id"], ignore_index=True)
    table = _with_verdicts(table, int(table["place"].max()) + 1 if len(table) else 0, margin)
    table.attrs["margin"] = margin
    return table


def corpus_spectrum(entries: pd.DataFrame) -> pd.DataFrame:
    """Per rule: documents, sets, mean removed share and bits, median gap, documents memorized there.

    `.attrs` counts the documents that generalize (`generalizes`) and those that are `undecided`.
    """
    rules = entries.groupby(["nesting", "rule"], sort=True)
    table = rules.agg(
        documents=("doc_id", "nunique"),
        sets=("group_id", "nunique"),
        removed_share=("removed_share", "mean"),
        bits=("bits", "first"),
        median_gap=("gap", "median"),
    ).reset_index()
    each = entries.drop_duplicates("doc_id")
    at = each.loc[each["verdict"] == "memorized", "verdict_rule"].value_counts()
    table["memorized"] = table["rule"].map(at).fillna(0).astype(int)
    table.attrs.update({name: int((each["verdict"] == name).sum()) for name in ("generalizes", "undecided")})
    return table


def base_rules(campaign: "Campaign") -> list[str]:
    """All rules but those whose sets are removed."""
    knockout_rules = campaign.config.design.knockout.sets if campaign.config.design.knockout is not None else ()
    return [rule for rule in campaign.rules() if rule not in knockout_rules]


def nesting_of(campaign: "Campaign", rule: str) -> int:
    """0 for the document, then the rungs of the design; rules outside it come after."""
    levels = [DOCUMENT_RULE, *(level for level in campaign.config.design.levels if level != DOCUMENT_RULE)]
    return levels.index(rule) if rule in levels else len(levels)


def _base(campaign: "Campaign", rule: str, evaluation: int | None, allow_partial: bool) -> pd.DataFrame:
    scores = campaign.scores(rule, evaluation, allow_partial)
    table = scores[["doc_id", "rule", "group_id", "group_size", "removed_share", "n_in", "n_out"]].copy()
    table["nesting"] = nesting_of(campaign, rule)
    table["gap"], table["se"] = scores["memorization"], scores["se"]
    # The table has ends of an interval and no degrees of freedom; they say the same.
    half = (scores["ci_high"] - scores["memorization"]).to_numpy(dtype=np.float64)
    se = scores["se"].to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        table["degrees"] = degrees_of(half / se, 0.95)
    # A document that is alone in its group has the score of the document itself, once.
    alone = (table["group_size"] == 1) & (rule != DOCUMENT_RULE)
    return table[~alone].assign(**dict.fromkeys(NO_VALUE, math.nan))


def _removed(campaign: "Campaign", evaluation: int, allow_partial: bool) -> pd.DataFrame:
    return rows_of_sets(campaign, *knockout_effects(campaign, evaluation, allow_partial))


def rows_of_sets(
    campaign: "Campaign", sets: Sets, rows: NDArray[np.int64], found: Knockout, curve: SizeCurve | None
) -> pd.DataFrame:
    """The part of a spectrum that is about these rows of the sets' members."""
    document, group = sets.members[0][rows], sets.members[1][rows]
    decides = found.total if curve is None else found.excess
    return pd.DataFrame(
        {
            "doc_id": [campaign.doc_ids[d] for d in document],
            "rule": [sets.rule[s] for s in group],
            "group_id": [sets.group[s] for s in group],
            "group_size": np.bincount(sets.members[1], minlength=sets.count)[group],
            "removed_share": _shares(campaign, sets)[group],
            "nesting": 1 + len(campaign.rules()),
            "gap": decides.value,
            "se": decides.se,
            "degrees": decides.degrees,
            "total": found.total.value,
            "size": found.size.value,
            "excess": found.excess.value,
            "rest": found.rest.value,
            "n_in": found.n_in,
            "n_out": found.n_removed,
            "tokens_in": found.tokens_kept,
            "tokens_out": found.tokens_removed,
        }
    )


def _shares(campaign: "Campaign", sets: Sets) -> NDArray[np.float64]:
    return sets.tokens(campaign.n_tokens) / (campaign.config.design.include * float(campaign.n_tokens.sum()))


def _bits(campaign: "Campaign", rule: str) -> float:
    tried = math.log2(len(campaign.rules()))
    if rule == DOCUMENT_RULE:
        return tried
    record = read_record(campaign.layout.groups(rule))
    known: Any = None if record is None else record.notes.get("description_bytes")
    spec = campaign.config.rule(rule)
    parameters = {key: value for key, value in spec.model_dump(mode="json").items() if key not in ("name", "rule")}
    size = int(known) if known is not None else len(json.dumps(parameters).encode()) if parameters else 0
    return tried + 8 * size


def _with_verdicts(table: pd.DataFrame, documents: int, margin: float) -> pd.DataFrame:
    """The table, sorted by document, with corrected intervals and the verdict of each document in all of its rows."""
    place = table["place"].to_numpy()
    nth = np.arange(len(table)) - np.searchsorted(place, place)  # of the document's rules
    shape = (int(nth.max(initial=0)) + 1, documents)
    gap, se, degrees = (np.full(shape, np.nan) for _ in range(3))
    for matrix, name in ((gap, "gap"), (se, "se"), (degrees, "degrees")):
        matrix[nth, place] = table[name].to_numpy(dtype=np.float64)
    found = verdicts(gap, se, degrees, margin)
    rule = found.rule[place]
    names = table["rule"].to_numpy(dtype=object)
    first = np.searchsorted(place, place)
    at = np.full(len(table), None, dtype=object)
    at[rule >= 0] = names[(first + np.maximum(rule, 0))[rule >= 0]]
    words = np.select([rule == UNDECIDED, rule == GENERALIZES], ["undecided", "generalizes"], "memorized")
    return table.assign(
        ci_low=found.low[nth, place],
        ci_high=found.high[nth, place],
        verdict=words,
        verdict_rule=at,
        verdict_margin=found.margin[place],
    )
