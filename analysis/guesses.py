"""Guesses about memorization, each with an estimate, its interval and a verdict.

A verdict is `holds` where the whole 95 % interval is above zero, `fails` where it is below, `undecided` between. The
interval of a mean over documents takes the documents as the sample: their coins are independent of one another.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memo.campaign import Campaign

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Guess:
    """A claim, what was measured, and whether it holds."""

    claim: str
    estimate: float
    ci_low: float
    ci_high: float
    unit: str
    detail: str

    @property
    def verdict(self) -> str:
        if self.ci_low > 0:
            return "holds"
        return "fails" if self.ci_high < 0 else "undecided"


def planted_guesses(campaign: Campaign) -> list[Guess]:
    """The guesses that a campaign with planted documents, exact copies and several evaluations can answer."""
    return [
        random_above_repeated(campaign),
        more_copies_more_memorized(campaign),
        more_epochs_more_memorized(campaign),
        low_alone_high_together(campaign),
    ]


def random_above_repeated(campaign: Campaign) -> Guess:
    """Welch's interval for the difference of two mean scores, over documents."""
    scores = _with_truth(campaign, "exact")
    uuids, repeated = (scores.loc[scores["planted"] == kind, "memorization"] for kind in ("uuid", "repeated"))
    difference = uuids.mean() - repeated.mean()
    variances = np.array([uuids.var() / len(uuids), repeated.var() / len(repeated)])
    degrees = variances.sum() ** 2 / (variances**2 / [len(uuids) - 1, len(repeated) - 1]).sum()
    half = _quantile(degrees) * np.sqrt(variances.sum())
    return Guess(
        "a document of random UUIDs scores higher than one that repeats a word",
        float(difference), float(difference - half), float(difference + half), "nats per token",
        f"UUIDs {uuids.mean():.2f}, repeated words {repeated.mean():.2f}",
    )  # fmt: skip


def more_copies_more_memorized(campaign: Campaign) -> Guess:
    """Slope of the group's score on log2 of the number of copies, least squares over texts."""
    scores = _with_truth(campaign, "exact")
    copies = (
        scores[scores["planted"] == "copies"]
        .groupby("group_id")
        .agg(score=("memorization", "mean"), copies=("group_size", "first"))
    )
    x, y = np.log2(copies["copies"].to_numpy(dtype=float)), copies["score"].to_numpy()
    slope, half = _slope(x, y)
    means = copies.groupby("copies")["score"].mean()
    return Guess(
        "a text repeated n times scores higher as a group the larger n",
        slope, slope - half, slope + half, "nats per token and doubling",
        "mean score by copies: " + ", ".join(f"{n}: {score:.2f}" for n, score in means.items()),
    )  # fmt: skip


def more_epochs_more_memorized(campaign: Campaign) -> Guess:
    """Mean paired difference between consecutive evaluations, the least of them; and the bound by the loss out."""
    epochs = campaign.config.training.evaluations
    if len(epochs) < 2:
        raise ValueError("expected at least two evaluations to compare; set training.evaluate_at")
    tables = [campaign.scores("exact", evaluation) for evaluation in range(len(epochs))]
    differences = [
        (later["memorization"] - earlier["memorization"]).dropna().to_numpy()
        for earlier, later in itertools.pairwise(tables)
    ]
    low, middle, high = min((_mean_interval(d) for d in differences), key=lambda ends: ends[0])
    last = tables[-1].dropna(subset=["memorization"])
    within = (last["memorization"] <= last["loss_out"]).mean()
    means = ", ".join(f"{e}: {t['memorization'].mean():.2f}" for e, t in zip(epochs, tables, strict=True))
    return Guess(
        "more epochs mean a higher score, bounded by the loss of a model that never saw the document",
        middle, low, high, "nats per token, the smallest step between evaluations",
        f"mean score by epoch: {means}; {within:.0%} of documents score below their loss out "
        f"({last['loss_out'].mean():.2f} on average)",
    )  # fmt: skip


def low_alone_high_together(campaign: Campaign, rule: str = "near") -> Guess:
    """Mean over planted families of (score of the family - mean score of its single documents)."""
    families = _families(campaign, rule)
    low, middle, high = _mean_interval((families["together"] - families["alone"]).to_numpy())
    together, alone = (_mean_interval(families[column].to_numpy()) for column in ("together", "alone"))
    return Guess(
        "each of many near-duplicates scores low alone and high as a group",
        middle, low, high, "nats per token, family - single document",
        f"families {together[1]:.2f} [{together[0]:.2f}, {together[2]:.2f}], their documents one by one "
        f"{alone[1]:.2f} [{alone[0]:.2f}, {alone[2]:.2f}]",
    )  # fmt: skip


def _families(campaign: Campaign, rule: str) -> pd.DataFrame:
    """One row per planted family: its mean score under the rule and its documents' mean score one by one."""
    scores = campaign.documents()[["doc_id", "planted", "planted_group"]]
    for column, name in (("together", rule), ("alone", "document")):
        table = campaign.scores(name)[["doc_id", "memorization"]].rename(columns={"memorization": column})
        scores = scores.merge(table, on="doc_id", validate="one_to_one")
    return scores[scores["planted"] == "family"].groupby("planted_group")[["together", "alone"]].mean()


def _with_truth(campaign: Campaign, rule: str) -> pd.DataFrame:
    truth = campaign.documents()[["doc_id", "planted"]]
    return campaign.scores(rule).merge(truth, on="doc_id", validate="many_to_one")


def _quantile(degrees: float) -> float:
    from scipy import special

    return float(special.stdtrit(degrees, 0.5 + CONFIDENCE / 2))


def _mean_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """(low, mean, high) of Student's interval."""
    half = _quantile(len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean()), float(values.mean() + half)


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Least-squares slope and half its interval."""
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    residuals = y - y.mean() - slope * centred
    error = np.sqrt((residuals**2).sum() / (len(x) - 2) / (centred**2).sum())
    return slope, _quantile(len(x) - 2) * float(error)
