"""What of a campaign is done, from its records alone: no lock, no heavy import, also while it runs."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from memo import lock
from memo.errors import MemoError
from memo.store import fingerprint, read_record
from pipelines.train import last_event
from pipelines.workspace import Workspace, open_workspace

Artifacts = Iterable[tuple[Path, Callable[[], dict[str, Any]]]]


def status(root: Path) -> dict[str, Any]:
    """Per stage: how many artifacts are done, wanted, and made from something that has changed since (stale).

    Records are compared, files are not hashed again; `memo run` verifies them before it relies on them.
    """
    workspace = open_workspace(root)
    config = workspace.config
    stages = {name: _count(artifacts) for name, artifacts in _artifacts(workspace).items()}
    stages["train"]["failed"] = _failed(workspace)
    record = read_record(workspace.layout.documents)
    return {
        "campaign": str(root),
        "running": _running(workspace),
        "stages": stages,
        "complete": all(stage["done"] == stage["total"] for stage in stages.values()),
        "corpus": {} if record is None else {key: value for key, value in record.notes.items() if key != "written"},
        "design": config.design.model_dump(mode="json"),
    }


def _artifacts(workspace: Workspace) -> dict[str, Artifacts]:
    layout, config = workspace.layout, workspace.config
    return {
        "ingest": [(path, workspace.ingest_inputs) for path in workspace.corpus_files()],
        "group": [(layout.groups(s.name), partial(workspace.group_inputs, s)) for s in config.rules],
        "sample": [(layout.block(b), partial(workspace.block_inputs, b)) for b in range(config.design.blocks)],
        "train": [(layout.losses(s), partial(workspace.loss_inputs, s)) for s in range(config.design.splits)],
        "aggregate": [(layout.scores(name), partial(workspace.score_inputs, name)) for name in workspace.rules],
    }


def stale_scores(root: Path, rule: str) -> bool:
    """True where a rule's table on disk was made from losses, splits or groups that have changed since."""
    workspace = open_workspace(root)
    record = read_record(workspace.layout.scores(rule)) if rule in workspace.rules else None
    return record is not None and not _is_current(record.fingerprint, partial(workspace.score_inputs, rule))


def _failed(workspace: Workspace) -> int:
    """Splits whose last training ended in an error, and that have no losses."""
    return sum(
        last_event(workspace.layout.log(split)).get("event") == "failed"
        for split in range(workspace.config.design.splits)
        if read_record(workspace.layout.losses(split)) is None
    )


def _count(artifacts: Artifacts) -> dict[str, int]:
    counts = {"done": 0, "total": 0, "failed": 0, "stale": 0}
    for path, inputs in artifacts:
        counts["total"] += 1
        record = read_record(path)
        if record is None or not path.exists():
            continue
        current = record.bytes == path.stat().st_size and _is_current(record.fingerprint, inputs)
        counts["done" if current else "stale"] += 1
    return counts


def _is_current(recorded: str, inputs: Callable[[], dict[str, Any]]) -> bool:
    try:
        return recorded == fingerprint(inputs())
    except MemoError:
        return False  # what it was made from is not there any more


def _running(workspace: Workspace) -> dict[str, Any] | None:
    """Who writes to the campaign now, and the splits that are in training."""
    holding = lock.holder(workspace.layout.lock)
    if holding is None or not lock.is_alive(holding):
        return None
    training = {}
    for split in range(workspace.config.design.splits):
        event = last_event(workspace.layout.log(split))
        if event.get("event") == "step":
            training[str(split)] = {key: event[key] for key in ("epoch", "step", "steps", "loss") if key in event}
    return {"pid": holding.get("pid"), "host": holding.get("host"), "training": training}
