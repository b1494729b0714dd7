"""What a newcomer reads at the end of a run: the extremes among the documents, and planted truth beside scores."""

import pandas as pd

from memo.campaign import Campaign

PLANTED_KINDS = {
    "uuid": "random UUIDs",
    "repeated": "one word, repeated",
    "copies": "exact copies of a text",
    "family": "near-duplicates (one or two words edited)",
    "quote": "quote one passage",
    "topic": "about one topic",
}


def extremes(campaign: Campaign, rule: str, number: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The most and the least memorized of the documents that were not planted, one row per group."""
    documents = campaign.documents()
    scores = campaign.scores(rule).merge(documents[["doc_id", "text", *_planted(documents)]], on="doc_id")
    if "planted" in scores:
        scores = scores[scores["planted"].isna()]
    scores = scores.dropna(subset=["memorization"]).drop_duplicates("group_id")
    ordered = scores.sort_values("memorization", ascending=False, kind="stable")
    return ordered.head(number), ordered.tail(number).iloc[::-1]


def by_kind(campaign: Campaign, rule: str) -> pd.DataFrame:
    """Mean score of each kind of planted document and of the others; copies by their number.

    Columns: kind, documents, memorization, loss_in, loss_out.
    """
    documents = campaign.documents()
    scores = campaign.scores(rule).merge(documents[["doc_id", "planted", "planted_copies"]], on="doc_id")
    kind = scores["planted"].map(PLANTED_KINDS).fillna("real: standard-library docstrings")
    copied = scores["planted"] == "copies"
    kind = kind.where(~copied, scores["planted_copies"].map(_copies, na_action="ignore"))
    grouped = scores.assign(kind=kind).groupby("kind", sort=False)
    table = grouped.agg(
        documents=("doc_id", "size"),
        memorization=("memorization", "mean"),
        loss_in=("loss_in", "mean"),
        loss_out=("loss_out", "mean"),
    )
    return table.reset_index()


def _copies(number: str) -> str:
    return "a text that stands once" if number == "1" else f"a text that stands {number} times"


def _planted(documents: pd.DataFrame) -> list[str]:
    return [column for column in ("planted",) if column in documents]
