"""Means of a campaign over models or documents: simplicity of each document, scores by epoch."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from memo.estimators import simplicity

if TYPE_CHECKING:
    from memo.campaign import Campaign

EPOCH_COLUMNS = {
    "epoch": "epochs trained when the losses were measured",
    "documents": "that have a score",
    "memorization": "mean over them, nats per token",
    "p10": "tenth percentile of them",
    "p90": "ninetieth percentile",
    "loss_in": "mean loss of the models that trained on it, nats per token",
    "loss_out": "mean loss of the models that did not",
}


def simplicities(campaign: "Campaign", evaluation: int, allow_partial: bool) -> pd.DataFrame:
    """doc_id, mean_loss and mean_accuracy over all models that count; an accuracy that is not known is NaN."""
    splits = campaign.splits_that_count(allow_partial)
    losses, accuracy = campaign.losses(evaluation, allow_partial)[splits], None
    known = campaign.config.imported is None or campaign.config.imported.accuracy
    if known:
        accuracy = simplicity(campaign.accuracy(evaluation, allow_partial)[splits])
    mean = np.nan if accuracy is None else accuracy
    return pd.DataFrame({"doc_id": campaign.doc_ids, "mean_loss": simplicity(losses), "mean_accuracy": mean})


def scores_by_epoch(campaign: "Campaign", rule: str, allow_partial: bool) -> pd.DataFrame:
    """A row for each evaluation; columns as in EPOCH_COLUMNS."""
    rows = []
    for evaluation, epoch in enumerate(campaign.config.training.evaluations):
        scored = campaign.scores(rule, evaluation, allow_partial).dropna(subset=["memorization"])
        p10, p90 = scored["memorization"].quantile([0.1, 0.9])
        means = scored[["memorization", "loss_in", "loss_out"]].mean()
        rows.append({"epoch": epoch, "documents": len(scored), "p10": p10, "p90": p90, **means.to_dict()})
    return pd.DataFrame(rows, columns=list(EPOCH_COLUMNS))
