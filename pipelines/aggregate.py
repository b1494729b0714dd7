"""Last stage: blocks of documents x all splits become the score table of each rule, as one Dask graph.

A task reads its columns of every split's losses and nothing else, so memory is bounded by the block, not by the corpus.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from memo.errors import MemoError
from memo.layout import Layout
from memo.store import is_done, publishing, verified
from memo.tables import Rows, ScoredRule
from pipelines import training_log
from pipelines.progress import Reporter
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from memo.campaign import Campaign

BLOCK_VALUES = 4_000_000  # losses a task holds: splits x documents


def run(workspace: Workspace, reporter: Reporter, allow_partial: bool = False) -> None:
    """Writes scores/NAME.parquet for each rule. Raises `MemoError` where a model is missing, unless that is allowed."""
    splits = workspace.usable_splits()
    absent = absences(workspace, splits)
    if absent and not (allow_partial and splits):
        raise MemoError(_refusal(workspace, absent, len(splits)))
    if absent:
        reporter.line(
            f"aggregate: from {len(splits)} of {workspace.config.design.splits} models; whether the others are missing "
            f"at random: memo status {workspace.layout.root} --missing"
        )
    layout = workspace.layout
    todo = [n for n in workspace.rules if not is_done(layout.scores(n), workspace.score_inputs(n, splits))]
    if not todo:
        return
    from memo.campaign import Campaign

    campaign = Campaign(workspace.layout, workspace.config)
    for block in range(workspace.config.design.blocks):
        verified(workspace.layout.block(block))
    with reporter.bar("aggregate", len(todo), "rule") as bar:
        for done, name in enumerate(todo, start=1):
            _aggregate(workspace, campaign, name, splits)
            bar.update(done)


def absences(workspace: Workspace, usable: Sequence[int]) -> dict[int, str]:
    """Split -> why it has no losses that count: it failed, diverged, or is not trained."""
    there = set(usable)
    absent = {}
    for split in range(workspace.config.design.splits):
        if split not in there:
            error = training_log.read(workspace.layout.log(split)).error
            absent[split] = workspace.diverged(split) or (f"failed: {error}" if error else "not trained")
    return absent


def _refusal(workspace: Workspace, absent: dict[int, str], usable: int) -> str:
    split, why = next(iter(absent.items()))
    root, total = workspace.layout.root, workspace.config.design.splits
    more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
    return (
        f"scores need every model: {usable} of {total} are there, split {split} is not{more}: {why}. "
        f"Run `memo train {root}`, or take what is there: memo aggregate {root} --allow-partial"
    )


def _aggregate(workspace: Workspace, campaign: "Campaign", name: str, splits: Sequence[int]) -> None:
    import dask
    import pyarrow.parquet as pq

    scored = campaign.scored_rule(name, splits)
    documents = len(campaign.doc_ids)
    size = max(1, BLOCK_VALUES // len(splits))
    shared = dask.delayed(scored)
    tasks = [
        dask.delayed(score_block)(shared, workspace.layout, list(splits), start, min(start + size, documents))
        for start in range(0, documents, size)
    ]
    rows = dask.compute(*tasks)
    with publishing(workspace.layout.scores(name), workspace.score_inputs(name, splits)) as path:
        pq.write_table(scored.table(rows), path, compression="zstd")


def score_block(scored: ScoredRule, layout: Layout, splits: Sequence[int], start: int, stop: int) -> Rows:
    """Scores of documents start .. stop - 1 at the last evaluation."""
    from memo.campaign import read_losses

    columns = slice(start, stop)
    losses, correct = (
        np.stack([read_losses(layout, split, name, -1, columns) for split in splits]) for name in ("loss", "n_correct")
    )
    return scored.score(start, losses, correct)
