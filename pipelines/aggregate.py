"""Last stage: blocks of documents x all splits become the score table of each rule, as one Dask graph.

A task reads its columns of every split's losses and nothing else, so memory is bounded by the block, not by the corpus.
"""

from typing import TYPE_CHECKING

import numpy as np

from memo.errors import MemoError
from memo.layout import Layout
from memo.store import is_done, publishing, verified
from memo.tables import Rows, ScoredRule
from pipelines.progress import Reporter
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from memo.campaign import Campaign

BLOCK_VALUES = 4_000_000  # losses a task holds: splits x documents


def run(workspace: Workspace, reporter: Reporter) -> None:
    """Writes scores/NAME.parquet for each rule. Raises `MemoError` where a model is missing."""
    missing = [s for s in range(workspace.config.design.splits) if not workspace.split_done(s)]
    if missing:
        total = workspace.config.design.splits
        raise MemoError(
            f"scores need every model: {total - len(missing)} of {total} are trained, split {missing[0]} is not; "
            f"run `memo train {workspace.layout.root}`"
        )
    todo = [
        name for name in workspace.rules if not is_done(workspace.layout.scores(name), workspace.score_inputs(name))
    ]
    if not todo:
        return
    from memo.campaign import Campaign

    campaign = Campaign(workspace.layout, workspace.config)
    for block in range(workspace.config.design.blocks):
        verified(workspace.layout.block(block))
    with reporter.bar("aggregate", len(todo), "rule") as bar:
        for done, name in enumerate(todo, start=1):
            _aggregate(workspace, campaign, name)
            bar.update(done)


def _aggregate(workspace: Workspace, campaign: "Campaign", name: str) -> None:
    import dask
    import pyarrow.parquet as pq

    scored = campaign.scored_rule(name)
    splits, documents = workspace.config.design.splits, len(campaign.doc_ids)
    size = max(1, BLOCK_VALUES // splits)
    shared = dask.delayed(scored)
    tasks = [
        dask.delayed(score_block)(shared, workspace.layout, splits, start, min(start + size, documents))
        for start in range(0, documents, size)
    ]
    rows = dask.compute(*tasks)
    with publishing(workspace.layout.scores(name), workspace.score_inputs(name)) as path:
        pq.write_table(scored.table(rows), path, compression="zstd")


def score_block(scored: ScoredRule, layout: Layout, splits: int, start: int, stop: int) -> Rows:
    """Scores of documents start .. stop - 1 at the last evaluation."""
    from memo.campaign import read_losses

    columns = slice(start, stop)
    losses, correct = (
        np.stack([read_losses(layout, split, name, -1, columns) for split in range(splits)])
        for name in ("loss", "n_correct")
    )
    return scored.score(start, losses, correct)
