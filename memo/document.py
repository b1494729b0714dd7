"""Everything that a campaign knows of one document, as plain data: for the terminal, a notebook, JSON.

    data = document_data(campaign, "t3")
    data["scores"], data["tokens"], data["members"]

What is not there yet is missing: a document without models has a text, metadata and groups, and no scores.
"""

import difflib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from memo.differences import as_data, differences
from memo.errors import UsageError
from memo.plain import finite, records
from memo.token_scores import TokensNotKeptError

if TYPE_CHECKING:
    import pandas as pd

    from memo.campaign import Campaign

MEMBERS = 12  # other members of a group whose texts are compared
# What `document_data` gives, and `memo show --json` prints.
FIELDS = {
    "doc_id": "the document",
    "text": "its text; null where an import does not know it",
    "n_tokens": "tokens that are scored; null where they are not known",
    "metadata": "metadata column -> value",
    "scores": "rows of the score tables, one for each rule and group",
    "groups": "rule -> all documents that share a group with it, itself included",
    "members": f"rule -> the first {MEMBERS} others: doc_id, text, differences, complete",
    "tokens": "rule, and the rows of `campaign.token_scores`; null where no losses of single tokens were kept",
    "by_epoch": "epoch, loss_in, loss_out and gap, over the splits with and without the document",
}


def document_data(campaign: "Campaign", doc_id: str) -> dict[str, Any]:
    """Plain data with the keys of FIELDS; no number is NaN, but None. Raises `UsageError` for an unknown id.

    `differences` of a member: runs of words, as characters `start` .. `end` of this text and `other_start` ..
    `other_end` of the member's; `complete` is false where they were too long to be compared word by word.
    """
    position = position_of(campaign, doc_id)
    texts = campaign.documents()
    row = records(texts.iloc[[position]])[0]
    scores = [score for rule in campaign.rules() for score in _scores(campaign, rule, doc_id)]
    groups = {rule: _members(campaign, rule, doc_id) for rule in campaign.rules()[1:] if campaign.has_groups(rule)}
    text = row.pop("text")
    return {
        "doc_id": doc_id,
        "text": text,
        "n_tokens": int(tokens) if (tokens := row.pop("n_tokens")) is not None else None,
        "metadata": {key: value for key, value in row.items() if key != "doc_id"},
        "scores": scores,
        "groups": groups,
        "members": {rule: _compared(texts, doc_id, text, others) for rule, others in groups.items()},
        "tokens": _tokens(campaign, doc_id, scores),
        "by_epoch": _by_epoch(campaign, position),
    }


def position_of(campaign: "Campaign", doc_id: str) -> int:
    """Where the document stands; raises `UsageError`, with the nearest identifier, where it does not."""
    try:
        return campaign.doc_ids.index(doc_id)
    except ValueError:
        close = difflib.get_close_matches(doc_id, campaign.doc_ids, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "; campaign.documents() has them all"
        raise UsageError(f"no document has the id {doc_id!r}{hint}") from None


def _scores(campaign: "Campaign", rule: str, doc_id: str) -> list[dict[str, Any]]:
    if not campaign.has_scores(rule):
        return []
    table = campaign.scores(rule)
    return records(table[table["doc_id"] == doc_id])


def _members(campaign: "Campaign", rule: str, doc_id: str) -> list[str]:
    """All documents that share a group with this one, itself included."""
    groups = campaign.groups(rule)
    mine = groups.loc[groups["doc_id"] == doc_id, "group_id"]
    return groups.loc[groups["group_id"].isin(mine), "doc_id"].drop_duplicates().tolist()


def _compared(texts: "pd.DataFrame", doc_id: str, text: str | None, members: list[str]) -> list[dict[str, Any]]:
    others = [member for member in members if member != doc_id][:MEMBERS]
    found = texts[texts["doc_id"].isin(others)]
    return [member(doc_id, text, other) for doc_id, other in zip(found["doc_id"], found["text"], strict=True)]


def member(doc_id: str, text: str | None, other: str | None) -> dict[str, Any]:
    """Another document of a group, beside the one whose text is `text`."""
    known = isinstance(text, str) and isinstance(other, str)
    spans, complete = differences(str(text), str(other)) if known else ([], False)
    return {"doc_id": doc_id, "text": other if known else None, "differences": as_data(spans), "complete": complete}


def _tokens(campaign: "Campaign", doc_id: str, scores: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Memorization token by token, by the first rule that has a score; None where no such losses were kept."""
    scored = [row for row in scores if row["memorization"] is not None]
    if not scored or not any(campaign.layout.token_losses(split).exists() for split in campaign.trained_splits()):
        return None
    rule, group = scored[0]["rule"], scored[0]["group_id"]
    try:
        return {"rule": rule, "rows": records(campaign.token_scores(doc_id, rule, group, allow_partial=True))}
    except TokensNotKeptError:
        return None


def _by_epoch(campaign: "Campaign", position: int) -> list[dict[str, Any]]:
    """Of the models that are there."""
    splits = campaign.trained_splits()
    if not splits or not campaign.evaluates_documents:
        return []
    included = campaign.included()[splits, position]
    result = []
    for evaluation, epoch in enumerate(campaign.config.training.evaluations):
        losses = campaign.columns("loss", splits, evaluation, np.array([position]))[:, 0].astype(np.float64)
        means = [float(losses[side].mean()) if side.any() else math.nan for side in (included, ~included)]
        result.append({"epoch": epoch, "loss_in": means[0], "loss_out": means[1], "gap": means[1] - means[0]})
    return [finite(row) for row in result]
