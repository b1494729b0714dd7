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


def by_kind(campaign: Campaign) -> pd.DataFrame:
    """Mean score of each kind of planted document and of the others, under every rule; copies by their number.

    Columns: kind, documents, one for each rule, loss_out (of the last rule).
    """
    documents = campaign.documents()
    kind = documents["planted"].map(PLANTED_KINDS).fillna("real: standard-library docstrings")
    copied = documents["planted"] == "copies"
    kind = kind.where(~copied, documents["planted_copies"].map(_copies, na_action="ignore"))
    columns = {"kind": kind.to_numpy(), "documents": 1}
    for rule in campaign.rules():
        scores = campaign.scores(rule).set_index("doc_id").loc[documents["doc_id"]]
        columns[rule] = scores["memorization"].to_numpy()
    columns["loss_out"] = scores["loss_out"].to_numpy()
    grouped = pd.DataFrame(columns).groupby("kind", sort=False)
    means = grouped[[*campaign.rules(), "loss_out"]].mean()
    means.insert(0, "documents", grouped["documents"].sum())
    return means.reset_index()


def _copies(number: str) -> str:
    return "a text that stands once" if number == "1" else f"a text that stands {number} times"


def _planted(documents: pd.DataFrame) -> list[str]:
    return [column for column in ("planted",) if column in documents]
