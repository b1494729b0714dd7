"""Fourth stage: one model per split, one task per model, on a local Dask cluster.

What is done is verified and skipped. A split that fails is named at the end; the others finish first.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo.errors import MemoError, UsageError
from memo.store import remove_temporaries
from pipelines import cluster
from pipelines.progress import Bar, Reporter
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from distributed import Client

POLL_S = 0.5
TAIL_BYTES = 4096


def run(workspace: Workspace, reporter: Reporter) -> None:
    """Writes losses/split-*.safetensors for the splits that are not done. Raises `MemoError` naming failed ones."""
    splits = workspace.config.design.splits
    todo = [split for split in range(splits) if not workspace.split_done(split)]
    if not todo:
        return
    remove_temporaries(workspace.layout.root)
    for split in todo:
        workspace.layout.log(split).unlink(missing_ok=True)
    workers = cluster.worker_count(workspace.config.cluster, len(todo))
    reporter.line(f"train: {len(todo)} of {splits} models, {workers} at a time; starting the workers")
    with cluster.local_client(workers) as client, reporter.bar("train", splits, "model") as bar:
        failed = _train(client, workspace, todo, bar)
    if failed:
        split, message = next(iter(failed.items()))
        raise MemoError(
            f"{len(failed)} of {splits} splits failed; the others are kept. Split {split}: {message} "
            f"(log: {workspace.layout.log(split)})"
        )


def _train(client: "Client", workspace: Workspace, todo: list[int], bar: Bar) -> dict[int, str]:
    """Split -> message, for the splits that failed."""
    from distributed import wait

    root = str(workspace.layout.root.resolve())
    futures = {
        client.submit(cluster.train_split, root, split, key=f"train-{split}", pure=False, retries=0): split
        for split in todo
    }
    failed: dict[int, str] = {}
    before = workspace.config.design.splits - len(todo)
    pending = set(futures)
    while pending:
        try:
            finished = wait(pending, timeout=POLL_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            finished = set()
        pending -= finished
        for future in finished:
            error = future.exception()
            if isinstance(error, UsageError):
                raise error  # the same for every split: no use in trying the others
            if error is not None:
                failed[futures[future]] = " ".join(str(error).split())
        running = [futures[future] for future in pending]
        bar.update(before + len(todo) - len(pending) + sum(_shares(workspace, running)))
    return failed


def _shares(workspace: Workspace, running: list[int]) -> Iterator[float]:
    """How much of each running split is trained, from the last line of its log."""
    for split in running:
        event = last_event(workspace.layout.log(split))
        if event.get("steps"):
            yield event["step"] / event["steps"]


def last_event(log: Path) -> dict[str, Any]:
    """The newest whole line of a training log; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return {}
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a line that is being written
        if isinstance(event, dict):
            return event
    return {}
