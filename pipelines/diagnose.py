"""The last part of aggregation: do the controls hold, and are there enough models? Saved as diagnostics.json.

Planted and copied documents are left out of the reliability: their scores were made to differ. At most
`reliability.SAMPLE` groups of a rule are looked at, drawn at random, and coins stay bit-packed but for theirs: memory
is 16 bytes for each model and group looked at, and what a reader of any campaign needs.
"""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memo.in_words import SIGNIFICANT
from memo.sets import read_copied
from memo.store import is_done, publishing, read_parquet
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from memo.campaign import Campaign

PLANTED_COLUMN = "planted"  # of the documents, where the corpus has planted ones


def run(workspace: Workspace, splits: Sequence[int]) -> None:
    """Writes diagnostics.json for the models that are there, unless it is done."""
    path = workspace.layout.diagnostics
    inputs = {name: workspace.score_inputs(name, splits) for name in workspace.rules}
    if is_done(path, inputs):
        return
    from memo.campaign import Campaign

    campaign = Campaign(workspace.layout, workspace.config)
    found = {
        "models": len(splits),
        "of": workspace.config.design.splits,
        "until": workspace.config.until.goal,
        "controls": controls(campaign.controls(allow_partial=True)),
        "rules": {name: of_rule(campaign, name, splits) for name in workspace.rules},
    }
    with publishing(path, inputs) as temporary:
        temporary.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def controls(scores: "pd.DataFrame") -> dict[str, Any]:
    """Phantoms: mean score and how many look significant by chance. Canaries: mean score by copies."""
    scored = scores.dropna(subset=["memorization"])
    phantoms, canaries = (scored[scored["kind"] == kind] for kind in ("phantom", "canary"))
    tested = phantoms["p_value"].dropna()
    return {
        "phantoms": {
            "number": len(phantoms),
            "mean": _number(phantoms["memorization"].mean()),
            "significant": int((tested < SIGNIFICANT).sum()),
            "expected_significant": round(SIGNIFICANT * len(tested), 2),
            # The chance of as many or more; splits that phantoms share make it a little too small.
            "p_value": _at_least(int((tested < SIGNIFICANT).sum()), len(tested)),
        },
        "canaries": {
            "number": len(canaries),
            "mean_by_copies": {
                str(copies): _number(mean) for copies, mean in canaries.groupby("copies")["memorization"].mean().items()
            },
        },
    }


def _at_least(count: int, tests: int) -> float | None:
    from scipy.stats import binom

    return _number(float(binom.sf(count - 1, tests, SIGNIFICANT))) if tests else None


def of_rule(campaign: "Campaign", name: str, splits: Sequence[int]) -> dict[str, Any]:
    """Reliability and the gap that can be resolved, one column per group of the rule."""
    from memo import seeding
    from memo.campaign_data import read_losses
    from memo.estimators.reliability import choose_documents, diagnose
    from pipelines.aggregate import packed_rule, scored_splits

    splits = scored_splits(campaign, splits)
    scored = packed_rule(campaign, name, splits)
    groups, seed = scored.groups, campaign.config.seed
    exclude = _planted(campaign, scored)
    chosen = choose_documents(len(groups.ids), exclude, seeding.generator("reliability", "groups", seed=seed))
    position = np.full(len(groups.ids), -1)
    position[chosen] = np.arange(len(chosen))
    rows = position[groups.group] >= 0
    member, column = groups.document[rows], position[groups.group[rows]]
    losses = np.zeros((len(splits), len(chosen)))
    for row, split in enumerate(splits):  # whole rows: columns far apart cost as much
        values = read_losses(campaign.layout, split, "loss", -1, slice(None, len(campaign.doc_ids)))
        losses[row] = np.bincount(column, weights=values[member], minlength=len(chosen)) / groups.sizes[chosen]
    treated, valid = scored.contrast.sides(slice(None), chosen)
    inside, counts = treated.astype(bool), None if valid is None else valid.astype(bool)
    found = diagnose(
        losses,
        inside,
        counts,
        scored.blocks,
        generator=seeding.generator("reliability", "halves", seed=seed),
        documents=len(groups.ids),
    ).as_dict()
    return {**found, "below_zero": below_zero(losses, inside, counts), "documents_excluded": int(exclude.sum())}


def below_zero(
    losses: NDArray[np.float64], inside: NDArray[np.bool_], counts: NDArray[np.bool_] | None
) -> float | None:
    """Share of columns whose mean loss is larger where they are in than where they are out; None without any score.

    losses, inside, counts: (M, G); counts None where every split counts. Near a half where nothing is memorized.
    """
    means = []
    for side in (inside, ~inside):
        side = side if counts is None else side & counts
        with np.errstate(invalid="ignore"):  # a column that is never on a side has no mean
            means.append(np.einsum("mg,mg->g", losses, side) / side.sum(axis=0))  # no copy of the losses
    scores = means[1] - means[0]
    scores = scores[np.isfinite(scores)]
    return float((scores < 0).mean()) if len(scores) else None


def _planted(campaign: "Campaign", scored: Any) -> Any:
    """(S,) True for groups with a document that is planted, or that the design copies."""
    import pyarrow.parquet as pq

    exclude = np.zeros(len(scored.groups.ids), dtype=bool)
    if PLANTED_COLUMN in pq.read_schema(campaign.layout.documents).names:
        planted = read_parquet(campaign.layout.documents, columns=[PLANTED_COLUMN])[PLANTED_COLUMN].is_valid()
        exclude[scored.groups.group[planted.to_numpy()[scored.groups.document]]] = True
    if campaign.config.design.copies is not None:
        copied = np.isin(scored.groups.document, read_copied(campaign.layout.copied))
        exclude[scored.groups.group[copied]] = True
    return exclude


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
