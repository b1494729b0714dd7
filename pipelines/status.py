"""What of a campaign is done, from its records and logs alone: no lock, no heavy import, also while it runs."""

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from memo import lock
from memo.errors import MemoError
from memo.layout import checkpoint_steps
from memo.store import fingerprint, read_record, size_bytes
from pipelines import training_log
from pipelines.workspace import Workspace, open_workspace

Artifacts = Iterable[tuple[Path, Callable[[], dict[str, Any]]]]


def status(root: Path) -> dict[str, Any]:
    """Per stage: how many artifacts are done, wanted, and made from something that has changed since (stale).

    Records are compared, files are not hashed again: `memo run` verifies them before it relies on them, `memo verify`
    when it is asked to.
    """
    workspace = open_workspace(root)
    config = workspace.config
    stages = {name: _count(found) for name, found in artifacts(workspace).items()}
    train = stages["train"]
    logs = {split: training_log.read(workspace.layout.log(split)) for split in _without_losses(workspace)}
    failed = {str(split): log.error for split, log in logs.items() if log.error is not None}
    diverged = {str(s): why for s in range(config.design.splits) if (why := workspace.diverged(s)) is not None}
    train["failed"] = len(failed)
    train["done"] = max(0, train["done"] - len(diverged))
    record = read_record(workspace.layout.documents)
    running = _coordinator(workspace)
    left = train["total"] - train["done"] - len(diverged) - len(failed)
    training = {split: log for split, log in logs.items() if log.is_running(time.time())}
    steps = {split: max(checkpoint_steps(workspace.layout.checkpoints(split)), default=0) for split in logs}
    return {
        "campaign": str(root),
        "running": running,
        "stages": stages,
        # What was measured is complete without a page that shows it, which can be made at any time.
        "complete": all(stage["done"] == stage["total"] for name, stage in stages.items() if name != "report"),
        "failed": failed,
        "diverged": diverged,
        "training": {str(split): _progress(log) for split, log in training.items()},
        # Splits that were begun and are not in training now, and the step of their newest checkpoint.
        "interrupted": {str(split): step for split, step in steps.items() if step and split not in training},
        "speed": _speed(workspace, list(training.values()), left),
        "corpus": {} if record is None else {key: value for key, value in record.notes.items() if key != "written"},
        "design": config.design.model_dump(mode="json"),
        "diagnostics": saved_diagnostics(workspace),
    }


def saved_diagnostics(workspace: Workspace) -> dict[str, Any] | None:
    """What the last aggregation found out about controls and reliability; None before."""
    path = workspace.layout.diagnostics
    if read_record(path) is None or not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def artifacts(workspace: Workspace) -> dict[str, Artifacts]:
    """Stage -> every file that it makes, with what the file is made from."""
    layout, config = workspace.layout, workspace.config
    splits = _usable(workspace)
    return {
        "ingest": [(path, workspace.ingest_inputs) for path in workspace.corpus_files()],
        "group": [(layout.groups(s.name), partial(workspace.group_inputs, s)) for s in config.rules],
        "sample": [
            *([(layout.sets, workspace.sets_inputs)] if config.design.knockout is not None else []),
            *([(layout.copied, workspace.copied_inputs)] if config.design.copies is not None else []),
            *((layout.block(b), partial(workspace.block_inputs, b)) for b in range(config.design.blocks)),
        ],
        "train": [(layout.losses(s), partial(workspace.loss_inputs, s)) for s in range(config.design.splits)],
        "aggregate": [(layout.scores(name), partial(workspace.score_inputs, name, splits)) for name in workspace.rules],
        "report": [(layout.report, workspace.report_inputs)] if workspace.rules else [],
    }


def stale_scores(root: Path, rule: str) -> bool:
    """True where a rule's table on disk was made from losses, splits or groups that have changed since."""
    workspace = open_workspace(root)
    record = read_record(workspace.layout.scores(rule)) if rule in workspace.rules else None
    inputs = partial(workspace.score_inputs, rule, _usable(workspace))
    return record is not None and not _is_current(record.fingerprint, inputs)


def _usable(workspace: Workspace) -> list[int]:
    """Splits with losses that count, by their records."""
    from memo.layout import record_path

    splits = range(workspace.config.design.splits)
    there = [split for split in splits if record_path(workspace.layout.losses(split)).exists()]
    return [split for split in there if workspace.diverged(split) is None]


def _without_losses(workspace: Workspace) -> list[int]:
    splits = range(workspace.config.design.splits)
    return [split for split in splits if read_record(workspace.layout.losses(split)) is None]


def _count(artifacts: Artifacts) -> dict[str, int]:
    counts = {"done": 0, "total": 0, "failed": 0, "stale": 0}
    for path, inputs in artifacts:
        counts["total"] += 1
        record = read_record(path)
        if record is None or not path.exists():
            continue
        current = record.bytes == size_bytes(path) and _is_current(record.fingerprint, inputs)
        counts["done" if current else "stale"] += 1
    return counts


def _is_current(recorded: str, inputs: Callable[[], dict[str, Any]]) -> bool:
    try:
        return recorded == fingerprint(inputs())
    except MemoError:
        return False  # what it was made from is not there any more


def _coordinator(workspace: Workspace) -> dict[str, Any] | None:
    """Who writes to the campaign now. Array jobs that train some splits hold no lock and are not named here."""
    holding = lock.holder(workspace.layout.lock)
    if holding is None or not lock.is_alive(holding):
        return None
    return {"pid": holding.get("pid"), "host": holding.get("host")}


def _progress(log: training_log.Training) -> dict[str, Any]:
    newest = {**log.last, **(log.steps[-1] if log.steps else {})}
    keys = ("host", "pid", "attempt", "epoch", "step", "steps", "loss", "tokens_per_s")
    told = {key: newest[key] for key in keys if key in newest}
    return {**told, "doing": log.last["event"], "heard_s_ago": round(max(0.0, time.time() - log.last["time"]), 1)}


def _speed(workspace: Workspace, training: list[training_log.Training], left: int) -> dict[str, float | None]:
    """Tokens per second and models per hour of what is in training now, and seconds left at that speed."""
    tokens = sum(log.steps[-1].get("tokens_per_s", 0.0) for log in training if log.steps)
    models_per_s = _models_per_s(workspace, training)
    to_do = left - sum(log.share for log in training)
    return {
        "tokens_per_s": round(tokens, 1) if training else None,
        "models_per_hour": round(3600 * models_per_s, 2) if models_per_s else None,
        "left_s": round(to_do / models_per_s) if models_per_s else None,
    }


def _models_per_s(workspace: Workspace, training: list[training_log.Training]) -> float:
    """From the models finished since the coordinator began, where there are enough; else from steps."""
    if not training:
        return 0.0
    began = _began(workspace)
    if began is not None:
        files = (workspace.layout.losses(split) for split in range(workspace.config.design.splits))
        finished = sum(path.exists() and path.stat().st_mtime >= began for path in files)
        if finished >= len(training):
            return finished / max(1e-9, time.time() - began)
    return sum(log.shares_per_s for log in training)


def _began(workspace: Workspace) -> float | None:
    """When the coordinator that is at work began; None where there is none. A lock that was left says nothing."""
    if _coordinator(workspace) is None:
        return None
    try:
        return workspace.layout.lock.stat().st_mtime
    except FileNotFoundError:
        return None
