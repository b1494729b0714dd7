"""Fourth stage: one model per split, one Dask task per model or stack of models.

What is done is verified and skipped. A split that fails is named at the end; the others finish first.
"""

import shutil
from collections.abc import Iterable

from memo.errors import PartialError
from memo.store import read_record, remove_temporaries
from pipelines.progress import Reporter
from pipelines.stacks import recorded
from pipelines.workspace import Workspace


def run(workspace: Workspace, reporter: Reporter) -> None:
    """Writes losses/split-*.safetensors for the splits that are not done. Raises `PartialError`."""
    train(workspace, reporter, range(workspace.config.design.splits))


def train(workspace: Workspace, reporter: Reporter, splits: Iterable[int]) -> None:
    """The same for some of the splits. Needs no lock: two processes that train the same split write the same."""
    wanted = list(splits)
    todo = [split for split in wanted if not workspace.split_done(split)]
    try:
        failed = _train(workspace, reporter, todo, len(wanted)) if todo else {}
    finally:
        _tidy(workspace, wanted)
    _report(workspace, reporter, todo)
    if failed:
        split, message = next(iter(failed.items()))
        raise PartialError(
            f"{len(failed)} of {workspace.config.design.splits} splits failed; the others are kept. Split {split}: "
            f"{message} (log: {workspace.layout.log(split)})"
        )


def _train(workspace: Workspace, reporter: Reporter, todo: list[int], total: int) -> dict[int, str]:
    """Split -> message, for the splits that failed."""
    from pipelines.cluster import connect
    from pipelines.dispatch import Dispatcher

    config, layout = workspace.config, workspace.layout
    remove_temporaries(layout.root)
    with (
        connect(config.cluster, config.training.device, len(todo), layout.logs, reporter) as workers,
        reporter.bar("train", total, "model") as bar,
    ):
        return Dispatcher(workers.client, workspace, reporter, workers.revive).train(todo, total, bar)


def _report(workspace: Workspace, reporter: Reporter, splits: list[int]) -> None:
    """Tokens trained on, and what of the computation was padding, from the records of what was trained."""
    records = [record for split in splits if (record := read_record(workspace.layout.losses(split))) is not None]
    notes = [record.notes for record in records if record.notes.get("trained_tokens")]
    tokens = sum(note["trained_tokens"] for note in notes)
    if tokens:
        computed = sum(note["trained_tokens"] / (1 - note["padding_share"]) for note in notes)
        reporter.line(f"train: {tokens:,} tokens, and {1 - tokens / computed:.1%} of what was computed was padding")


def _tidy(workspace: Workspace, splits: list[int]) -> None:
    """Removes what processes left that were killed on the way: temporary files, checkpoints of splits that are done."""
    left = [split for split in splits if workspace.layout.checkpoints(split).exists()]
    stacks = {stack.splits[0]: stack.splits for stack in (recorded(workspace) if left else ())}
    for split in left:
        if all(workspace.split_done(member) for member in stacks.get(split, (split,))):
            shutil.rmtree(workspace.layout.checkpoints(split), ignore_errors=True)
    remove_temporaries(workspace.layout.root)
