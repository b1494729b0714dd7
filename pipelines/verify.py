"""Hashes every file of a campaign again and says which are damaged; `repair` makes exactly those anew.

A file is damaged when it differs from its completion record, lacks one, or is missing beside it, and when it was made
from something else than this campaign has: a file of another campaign, or of older settings.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from memo import lock
from memo.cluster_settings import Cluster
from memo.errors import DamagedError, MemoError, UsageError
from memo.layout import record_path
from memo.lock import writer
from memo.store import TEMPORARY_MARK, fingerprint, is_abandoned, read_record, remove, remove_temporaries, verified
from pipelines import training_log
from pipelines.aggregate import run as aggregate
from pipelines.diagnose import run as diagnose
from pipelines.guard import unchanged
from pipelines.progress import Reporter
from pipelines.report import Writer, make_report
from pipelines.stages import GIVEN, stage
from pipelines.status import artifacts
from pipelines.train import train
from pipelines.workspace import Workspace, open_workspace

SECOND_LOOK_S = 1.0


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
    changed = _changed_settings(workspace)
    if changed:
        findings.append(Finding("campaign.yaml", "", changed))
    expected = _splits_of_tables(workspace)
    with reporter.bar("verify", len(everything), "file") as bar:
        for done, (name, path, inputs) in enumerate(everything, start=1):
            # What it was made from cannot be told while that is damaged itself; verify again after the repair.
            sound = not changed and all(finding.stage == name for finding in findings)
            problem = _problem(path, inputs if sound else dict)
            if problem and _changed_meanwhile(workspace):
                time.sleep(SECOND_LOOK_S)
                problem = _problem(path, inputs if sound else dict)
            if problem is None and path in expected and not path.exists():
                problem = "missing, a score table was made from it"
            if problem:
                findings.append(Finding(str(path.relative_to(root)), name, problem))
            elif (record := read_record(path)) is not None:
                checked, size = checked + 1, size + record.bytes
            bar.update(done)
    left = (path for path in sorted(root.rglob(f"*{TEMPORARY_MARK}*")) if is_abandoned(path))
    findings += [Finding(str(path.relative_to(root)), "", "left by a process that was killed") for path in left]
    return {"campaign": str(root), "checked": checked, "bytes": size, "findings": [asdict(f) for f in findings]}


def _changed_settings(workspace: Workspace) -> str:
    """What the campaign file asks for and no file was made with; empty where they agree."""
    if workspace.config.imported is not None:
        return ""
    try:
        workspace.refuse_changes()
    except UsageError as error:
        return f"its files were made with other settings: {error}"
    except MemoError:  # a file that the comparison needs is damaged, which is found by itself
        return ""
    return ""


def _splits_of_tables(workspace: Workspace) -> set[Path]:
    """Losses that must be there, because a score table of all models was made from them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from memo.tables import about

    expected = 0
    for name in workspace.rules:
        path = workspace.layout.scores(name)
        try:
            found = about(pq.read_schema(path).empty_table()) if path.exists() else {}
        except (pa.ArrowException, OSError, ValueError):
            continue  # damaged, which is found elsewhere
        if found.get("models") == found.get("of"):
            expected = max(expected, found.get("of", 0))
    return {workspace.layout.losses(split) for split in range(min(expected, workspace.config.design.splits))}


def _changed_meanwhile(workspace: Workspace) -> bool:
    """Whether somebody writes to the campaign, so that a file may have been caught between two moments."""
    holding = lock.holder(workspace.layout.lock)
    logs = (training_log.read(workspace.layout.log(split)) for split in range(workspace.config.design.splits))
    return (holding is not None and lock.is_alive(holding)) or any(log.is_running(time.time()) for log in logs)


def repair(
    root: Path,
    findings: Sequence[dict[str, str]],
    reporter: Reporter,
    cluster: Cluster | None = None,
    report: Writer | None = None,
) -> None:
    """Makes the damaged files anew, and nothing else. cluster: where models train, if any have to. report: writes the
    page; without it a damaged one is only removed.

    Raises `MemoError`, with everything as it was, where the corpus or the splits would come back as something else.
    """
    workspace = open_workspace(root)
    given = [finding["path"] for finding in findings if finding["stage"] in GIVEN]
    if given and workspace.config.imported is not None:
        raise MemoError(f"{given[0]} was imported and cannot be made anew; run the same `memo import` again")
    if cluster is not None:
        workspace = replace(workspace, config=workspace.config.model_copy(update={"cluster": cluster}))
    with writer(workspace.layout.lock):
        if workspace.config.imported is None:
            workspace.refuse_changes()
        stages = {finding["stage"] for finding in findings}
        with unchanged(workspace):
            for name in ("ingest", "group", "sample"):
                if name in stages:
                    _remove(root, findings, name)
                    stage(name)(workspace, reporter)
        _remove(root, findings, "train")
        remove_temporaries(root)
        if "train" in stages:
            train(workspace, reporter, sorted(_splits(workspace, findings)))
        if "aggregate" in stages:
            _remove(root, findings, "aggregate")
            aggregate(workspace, reporter)
            diagnose(workspace, workspace.usable_splits())
        if "report" in stages:
            _remove(root, findings, "report")
            if report is not None:
                make_report(workspace, reporter, report)


def _everything(workspace: Workspace) -> Iterator[tuple[str, Path, Callable[[], dict[str, Any]]]]:
    """Stage, path and inputs of whatever the campaign may hold."""
    for name, found in artifacts(workspace).items():
        for path, inputs in found:
            # A table that is older than the models is stale, which `memo status` says, and not damaged.
            yield name, path, dict if name in ("aggregate", "report") else inputs
    layout = workspace.layout
    yield "aggregate", layout.diagnostics, dict  # from all tables' inputs; made again with them
    for split in range(workspace.config.design.splits):
        if workspace.config.training.keep_weights and workspace.diverged(split) is None:
            yield "train", layout.weights(split), partial(workspace.loss_inputs, split)
        if workspace.kept_tokens(split):
            yield "train", layout.token_losses(split), partial(workspace.loss_inputs, split)
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
    try:
        wanted = inputs()
    except MemoError:
        return None  # what it is made from is not there yet; it is whole itself
    if wanted and record.fingerprint != fingerprint(wanted):
        return "made from something else: another campaign, or older settings"
    return None


def _splits(workspace: Workspace, findings: Sequence[dict[str, str]]) -> Iterator[int]:
    """The splits of whose files some are among the findings."""
    named = {finding["path"] for finding in findings}
    layout = workspace.layout
    for split in range(workspace.config.design.splits):
        paths = (layout.losses(split), layout.weights(split), layout.token_losses(split))
        if {str(p.relative_to(layout.root)) for p in paths} & named:
            yield split


def _remove(root: Path, findings: Sequence[dict[str, str]], name: str) -> None:
    """The files of a stage that were found damaged, and their records."""
    for finding in findings:
        if finding["stage"] == name:
            remove(record_path(root / finding["path"]))
            remove(root / finding["path"])
