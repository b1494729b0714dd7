"""Hashes every file of a campaign again and says which are damaged; `repair` makes exactly those anew.

A file is damaged when it differs from its completion record, lacks one, or is missing beside it, and when it was made
from something else than this campaign has: a file of another campaign, or of older settings.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from memo.errors import DamagedError, MemoError
from memo.layout import record_path
from memo.lock import writer
from memo.store import TEMPORARY_MARK, fingerprint, read_record, remove_temporaries, verified
from pipelines.aggregate import run as aggregate
from pipelines.progress import Reporter
from pipelines.stages import stage
from pipelines.status import artifacts
from pipelines.train import train
from pipelines.workspace import Workspace, open_workspace


@dataclass(frozen=True)
class Finding:
    """A file that is not what it should be."""

    path: str  # below the campaign directory
    stage: str
    problem: str


def verify(root: Path, reporter: Reporter) -> dict[str, Any]:
    """`checked` files, their `bytes`, and the `findings`. Reads everything, changes nothing."""
    workspace = open_workspace(root)
    findings: list[Finding] = []
    checked = size = 0
    everything = list(_everything(workspace))
    with reporter.bar("verify", len(everything), "file") as bar:
        for done, (name, path, inputs) in enumerate(everything, start=1):
            # What it was made from cannot be told while that is damaged itself; verify again after the repair.
            sound = all(finding.stage == name for finding in findings)
            problem = _problem(path, inputs if sound else dict)
            if problem:
                findings.append(Finding(str(path.relative_to(root)), name, problem))
            elif (record := read_record(path)) is not None:
                checked, size = checked + 1, size + record.bytes
            bar.update(done)
    left = (path.relative_to(root) for path in sorted(root.rglob(f"*{TEMPORARY_MARK}*")))
    findings += [Finding(str(p), "", "left by a killed process, or in work") for p in left if _outermost(p)]
    return {"campaign": str(root), "checked": checked, "bytes": size, "findings": [asdict(f) for f in findings]}


def _outermost(path: Path) -> bool:
    return not any(TEMPORARY_MARK in parent.name for parent in path.parents)


def repair(root: Path, findings: Sequence[dict[str, str]], reporter: Reporter) -> None:
    """Removes the damaged files and makes them anew; nothing else is made. Raises `MemoError` where that fails."""
    workspace = open_workspace(root)
    with writer(workspace.layout.lock):
        before = {finding["path"]: read_record(root / finding["path"]) for finding in findings}
        for finding in findings:
            if finding["stage"]:
                _remove(root / finding["path"])
        remove_temporaries(root)
        stages = {finding["stage"] for finding in findings}
        for name in ("ingest", "group", "sample"):
            if name in stages:
                stage(name)(workspace, reporter)
        _refuse_another(root, before)
        if "train" in stages:
            train(workspace, reporter, sorted(_splits(workspace, findings)))
        if "aggregate" in stages:
            aggregate(workspace, reporter, allow_partial=True)


def _everything(workspace: Workspace) -> Iterator[tuple[str, Path, Callable[[], dict[str, Any]]]]:
    """Stage, path and inputs of whatever the campaign may hold."""
    for name, found in artifacts(workspace).items():
        for path, inputs in found:
            yield name, path, inputs
    layout = workspace.layout
    for split in range(workspace.config.design.splits):
        if workspace.config.training.keep_weights and workspace.diverged(split) is None:
            yield "train", layout.weights(split), partial(workspace.loss_inputs, split)
        for path in sorted(layout.checkpoints(split).glob("*.safetensors")):
            yield "train", path, dict  # a checkpoint says itself what it can go on with


def _problem(path: Path, inputs: Callable[[], dict[str, Any]]) -> str | None:
    there, record = path.exists(), read_record(path)
    if record is None:
        if record_path(path).exists():
            return "its completion record cannot be read"
        return "without its completion record" if there else None  # neither: not made yet
    if not there:
        return "missing, its completion record is there"
    try:
        verified(path)
    except DamagedError:
        return f"differs from its record of {record.bytes} bytes"
    wanted = inputs()
    if wanted and record.fingerprint != fingerprint(wanted):
        return "made from something else: another campaign, or older settings"
    return None


def _splits(workspace: Workspace, findings: Sequence[dict[str, str]]) -> Iterator[int]:
    """The splits whose losses or weights are among the findings."""
    named = {finding["path"] for finding in findings}
    layout = workspace.layout
    for split in range(workspace.config.design.splits):
        if {str(p.relative_to(layout.root)) for p in (layout.losses(split), layout.weights(split))} & named:
            yield split


def _remove(path: Path) -> None:
    record_path(path).unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refuse_another(root: Path, before: dict[str, Any]) -> None:
    """What models were trained on must come back as it was, or their losses are about something else."""
    for name, old in before.items():
        new = read_record(root / name)
        if old is not None and new is not None and name.startswith(("corpus/", "design/")) and new.sha256 != old.sha256:
            raise MemoError(
                f"{name} was made anew and differs from the one that the models were trained on: its source has "
                "changed since; bring the old source back, then repair again, or use another --dir"
            )
