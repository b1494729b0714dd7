"""The table of documents: which are in the file, what is shown of each, and their scores under every rule.

    table = document_table(campaign, scores, entries)
    table.data, table.notes

All documents are in it as long as they fit into `TABLE_BYTES`: beyond, first the beginnings of their texts become
shorter, then only the documents with the highest scores and a random sample of the others are kept. `notes` says so.

Shapes: N documents of the campaign, D in the file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report.packing import coded, counts, packed, scaled
from memo import seeding
from memo.text import for_text_node

if TYPE_CHECKING:
    from memo.campaign import Campaign

TABLE_BYTES = 9_500_000  # in the file, of 15 million
MOST_DOCUMENTS = 100_000
EXCERPT = 200  # characters of a text, at most
EXCERPT_BUDGET = 8_000_000  # characters of all texts; what a first try goes by
CLIP = 120  # characters of an identifier, a group's label or a value of metadata
COLUMNS = 12  # of metadata
TOP_SHARE = 0.8  # of the documents kept where not all fit: those with the highest scores
OWN = ("doc_id", "text", "n_tokens")
VERDICTS = ("memorized", "undecided", "generalizes")

Index = NDArray[np.int64]


@dataclass(frozen=True)
class RuleScores:
    """The rows of one rule: a score table, or what the removal of its sets does."""

    name: str
    measure: str  # memorization, excess or total
    frame: (
        pd.DataFrame
    )  # doc_id, group_id, group_size, memorization, ci_low, ci_high, loss_in, loss_out, n_in, n_out...


@dataclass(frozen=True)
class DocumentTable:
    """What the page's table is made of."""

    packed: str
    documents: Index  # (D,) positions in the corpus
    excerpt: int  # characters of a text
    notes: list[str]  # what is left out, in words


def document_table(
    campaign: "Campaign", documents: pd.DataFrame, scores: list[RuleScores], verdicts: pd.DataFrame | None
) -> DocumentTable:
    """documents: `campaign.documents()`; verdicts: doc_id, verdict and verdict_rule, a row a document."""
    number = len(documents)
    position = {doc_id: place for place, doc_id in enumerate(documents["doc_id"])}
    placed = [(rule, rule.frame["doc_id"].map(position).to_numpy(dtype=np.int64)) for rule in scores]
    best = best_scores(placed, number)
    kept: Index = np.arange(number)
    excerpt, text = 0, ""
    for most, excerpt in _plans(number):
        kept = _kept(best, most, campaign.config.seed)
        text = packed(_data(documents, placed, verdicts, kept, excerpt))
        if len(text) <= TABLE_BYTES:
            break
    return DocumentTable(text, kept, excerpt, list(_notes(documents, kept, excerpt)))


def best_scores(placed: list[tuple[RuleScores, Index]], number: int) -> NDArray[np.float64]:
    """(N,) the highest score of each document under any rule; -inf where it has none."""
    best = np.full(number, -np.inf)
    for rule, place in placed:
        values = rule.frame["memorization"].to_numpy(dtype=np.float64)
        np.maximum.at(best, place, np.where(np.isnan(values), -np.inf, values))
    return best


def _plans(number: int) -> Iterator[tuple[int, int]]:
    """Documents and characters of each, from what one would like to what always fits."""
    most = min(number, MOST_DOCUMENTS)
    first = min(EXCERPT, max(30, EXCERPT_BUDGET // max(1, most)))
    for width in (first, first // 2, first // 4):
        yield most, width
    while most > 1:
        most //= 2
        yield most, min(EXCERPT, max(20, first // 4))


def _kept(best: NDArray[np.float64], most: int, seed: int) -> Index:
    if len(best) <= most:
        return np.arange(len(best))
    order = np.argsort(-best, kind="stable")
    top = order[: int(TOP_SHARE * most)]
    generator = seeding.generator("report", "documents", seed=seed)
    others = generator.choice(order[len(top) :], most - len(top), replace=False)
    return np.sort(np.concatenate([top, others]))


def clipped(value: Any, most: int = CLIP) -> str | None:
    """One line of at most so many characters, fit for a text node; None for a missing value."""
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA:
        return None
    text = value if isinstance(value, str) else str(value)
    begins = text[: 4 * most + 64]  # enough for the cut, however long the text is
    line = " ".join(begins.split())
    return for_text_node(line) if len(line) <= most and len(begins) == len(text) else for_text_node(line[:most]) + "…"


def _data(
    documents: pd.DataFrame,
    placed: list[tuple[RuleScores, Index]],
    verdicts: pd.DataFrame | None,
    kept: Index,
    excerpt: int,
) -> dict[str, Any]:
    shown = documents.iloc[kept]
    row = np.full(len(documents), -1)
    row[kept] = np.arange(len(kept))
    clip = CLIP if excerpt >= 40 else 40
    metadata = [column for column in documents.columns if column not in OWN][:COLUMNS]
    return {
        "total": len(documents),
        "ids": [clipped(doc_id, clip) for doc_id in shown["doc_id"]],
        "texts": [clipped(text, excerpt) for text in shown["text"]],
        "tokens": counts(shown["n_tokens"].to_numpy(dtype=np.float64, na_value=np.nan)),
        "metadata": [_column(name, shown[name], clip) for name in metadata],
        "verdicts": _verdicts(shown, verdicts),
        "rules": [_rule(rule, row[place], clip) for rule, place in placed],
    }


def _column(name: str, values: pd.Series, clip: int) -> dict[str, Any]:
    texts, codes = coded([clipped(value, clip) for value in values.astype(object)])
    return {"name": clipped(name), "values": texts, "codes": codes}


def _verdicts(shown: pd.DataFrame, verdicts: pd.DataFrame | None) -> dict[str, Any] | None:
    if verdicts is None:
        return None
    found = verdicts.set_index("doc_id").reindex(shown["doc_id"])
    words = [
        None if not isinstance(verdict, str) else f"{verdict} at {rule}" if isinstance(rule, str) else verdict
        for verdict, rule in zip(found["verdict"], found["verdict_rule"], strict=True)
    ]
    texts, codes = coded(words)
    return {"values": texts, "codes": codes}


def _rule(rule: RuleScores, place: Index, clip: int) -> dict[str, Any]:
    there = place >= 0
    frame, place = rule.frame[there], place[there]
    labels = frame["group_id"].astype(object).where(frame["group_size"] > 1, None)
    names, group = coded([label if isinstance(label, str) else None for label in labels])  # two may begin alike
    reasons, reason = coded([clipped(why, 200) for why in frame["reason"].astype(object)])
    plain = len(place) > 0 and np.array_equal(place, np.arange(len(place)))
    return {
        "name": rule.name,
        "measure": rule.measure,
        "document": None if plain else place.tolist(),
        "groups": [clipped(name, clip) for name in names],
        "group": group,
        "reasons": reasons,
        "reason": reason,
        **{name: counts(frame[name]) for name in ("group_size", "n_in", "n_out")},
        **{
            name: scaled(frame[name])
            for name in ("memorization", "ci_low", "ci_high", "loss_in", "loss_out", "p_value")
        },
    }


def _notes(documents: pd.DataFrame, kept: Index, excerpt: int) -> Iterator[str]:
    number = len(documents)
    if len(kept) < number:
        top = int(TOP_SHARE * len(kept))
        yield (
            f"The table holds {len(kept):,} of {number:,} documents: the {top:,} with the highest score under any "
            f"rule, and {len(kept) - top:,} drawn at random from the others. Checks, figures and the spectrum are of "
            "all."
        )
    columns = [column for column in documents.columns if column not in OWN]
    if len(columns) > COLUMNS:
        yield f"It shows the first {COLUMNS} of {len(columns)} columns of metadata."
    longest = documents["text"].dropna().str.len().max() if len(documents) else 0
    if longest > excerpt:
        yield f"The table shows and searches the first {excerpt} characters of each text."


def all_scores(campaign: "Campaign") -> list[RuleScores]:
    """Of every rule that has a score table; of rules whose sets are removed whole, what that does."""
    knockout = campaign.config.design.knockout
    removed = () if knockout is None else knockout.sets
    found = [
        RuleScores(rule, "memorization", campaign.scores(rule)) for rule in campaign.rules() if rule not in removed
    ]
    if not removed:
        return found
    table = campaign.knockout_scores(allow_partial=True)
    measure = "total" if table.attrs["size_curve"] is None else "excess"
    return [*found, *(_of_removal(rule, measure, part) for rule, part in table.groupby("rule", sort=False))]


def _of_removal(rule: Any, measure: str, table: pd.DataFrame) -> RuleScores:
    names: Mapping[str, str] = {
        measure: "memorization",
        **{f"{measure}_{name}": name for name in ("ci_low", "ci_high", "p_value")},
        "n_removed": "n_out",
    }
    kept = table.drop(columns=[name for name in names.values() if name in table]).rename(columns=names)
    why = "too few splits with and without the set"
    reason = pd.Series([why if missing else None for missing in kept["memorization"].isna()], kept.index, dtype=object)
    return RuleScores(str(rule), measure, kept.assign(loss_in=np.nan, loss_out=np.nan, reason=reason))
