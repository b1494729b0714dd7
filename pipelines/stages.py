"""The pipeline: a list of stages, each a function that reads files and writes files.

A stage that has nothing to do returns at once, before it imports anything heavy; so running a finished campaign again
costs a look at its records.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from memo.campaign_file import load
from memo.cluster_settings import Cluster
from memo.config import CampaignConfig
from memo.errors import PartialError, UsageError
from memo.layout import Layout
from memo.lock import writer
from memo.store import is_done
from pipelines.guard import unchanged
from pipelines.progress import Reporter
from pipelines.report import Writer, make_report
from pipelines.status import artifacts, saved_diagnostics, status
from pipelines.until import grown, next_splits, refuse_too_many, unmet
from pipelines.workspace import Workspace, open_workspace, refuse_imported, settle
from subsets.registry import refuse_unknown

Stage = Callable[..., None]  # of a workspace and a reporter
STAGES = ("ingest", "group", "sample", "train", "aggregate")
GIVEN = ("ingest", "sample", "train")  # stages whose work an imported campaign brings along


def stage(name: str) -> Stage:
    """The function of a stage, imported when it is asked for."""
    run: Stage = import_module(f"pipelines.{name}").run
    return run


def run_config(
    config: CampaignConfig,
    root: Path,
    reporter: Reporter,
    stages: tuple[str, ...] = STAGES,
    cluster: Cluster | None = None,
    allow_partial: bool = False,
    report: Writer | None = None,
) -> tuple[Workspace, bool]:
    """Runs stages of a campaign file in a directory, new or begun. Also gives whether it was complete already.

    cluster: where the work runs this time; it is not saved. allow_partial: scores from the models that are there, where
    others failed or diverged. report: writes the page at the end; without it there is none. Raises `UsageError` for a
    changed setting, `PartialError` at the end where splits failed.
    """
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root}: expected a directory or nothing, found a file; choose another --dir")
    refuse_imported(config, root)
    if not Layout(root).config.exists():
        for spec in config.rules:  # before a corpus is read for them
            refuse_unknown(spec)
    refuse_too_many(config)
    with writer(Layout(root).lock):
        if config.until.wanted:
            config = grown(config, root)
        dropped = _dropped_rules(config, root)
        workspace = _on(settle(config, root), cluster)
        if dropped:
            reporter.line(
                f"memo: no longer among the rules of this campaign: {', '.join(dropped)}; the campaign file does not "
                "name them, write them into it to keep them"
            )
        found, stamps = status(root), _stamps(workspace, stages[0])
        complete = found["complete"]
        failure = _run_all(stages, workspace, reporter, allow_partial)
        while failure is None and config.until.wanted and "aggregate" in stages:
            missing = unmet(workspace, saved_diagnostics(workspace))
            more = next_splits(workspace, reporter, missing) if missing else None
            if more is None:
                break
            workspace, complete = _on(settle(grown(config, root, more), root), cluster), False
            failure = _run_all(stages, workspace, reporter, allow_partial)
        if report is not None and "aggregate" in stages and workspace.rules:
            make_report(workspace, reporter, report)
        if failure is not None:
            raise failure
    if len(stages) == 1:
        _tell_done(workspace, stages[0], found, stamps, reporter)
    return workspace, complete


def _dropped_rules(config: CampaignConfig, root: Path) -> list[str]:
    """Rules that the campaign has so far, for instance by `memo group --add`, and that the file does not name."""
    path = Layout(root).config
    if not path.exists():
        return []
    named = {spec.name for spec in config.rules}
    return [spec.name for spec in load(path).rules if spec.name not in named]


def _run_all(
    stages: tuple[str, ...], workspace: Workspace, reporter: Reporter, allow_partial: bool
) -> PartialError | None:
    """Runs the stages; gives the failure of some splits, where scores are wanted all the same."""
    failure: PartialError | None = None
    for name in stages:
        try:
            _run(name, workspace, reporter, allow_partial)
        except PartialError as error:
            if not allow_partial:
                raise
            failure = error
    return failure


def run_stage(
    name: str, root: Path, reporter: Reporter, cluster: Cluster | None = None, allow_partial: bool = False
) -> Workspace:
    """Runs one stage of an existing campaign with its own saved configuration."""
    workspace = _on(open_workspace(root), cluster)
    if name in GIVEN:
        refuse_imported(workspace.config, root)
    if name == "aggregate" and not workspace.rules:
        raise UsageError(
            f"{root}: expected losses of the documents trained on, found those of other texts alone: there are no "
            "memorization scores to make; memo.open(...).influence() tells what the documents do to these texts"
        )
    with writer(workspace.layout.lock):
        workspace.refuse_changes()
        found, stamps = status(root), _stamps(workspace, name)
        _run(name, workspace, reporter, allow_partial)
    _tell_done(workspace, name, found, stamps, reporter)
    return workspace


def train_some(text: str, root: Path, reporter: Reporter, cluster: Cluster | None = None) -> None:
    """Trains the splits named as `0-15,20`. Takes no lock, so several hosts can each train their share.

    Raises `UsageError` for splits that the campaign does not have.
    """
    from pipelines.train import train

    workspace = _on(open_workspace(root), cluster)
    refuse_imported(workspace.config, root)
    workspace.refuse_changes()
    splits = parse_splits(text, workspace.config.design.splits)
    done = all(workspace.split_done(split) for split in splits)
    train(workspace, reporter, splits)
    if done:
        diverged = sum(workspace.diverged(split) is not None for split in splits)
        reporter.line(_before("train", len(splits), diverged))


def _stamps(workspace: Workspace, name: str) -> list[int | None]:
    """When each file of a stage was written: a damaged one of the right size is found only by the stage itself."""
    paths = [path for path, _ in artifacts(workspace)[name]]
    return [path.stat().st_mtime_ns if path.exists() else None for path in paths]


def _tell_done(
    workspace: Workspace, name: str, found: dict[str, Any], stamps: list[int | None], reporter: Reporter
) -> None:
    """A line that says so, where a stage had nothing to do. found, stamps: what `status` and `_stamps` said before."""
    count, diverged = found["stages"][name], len(found["diverged"]) if name == "train" else 0
    if count["done"] + diverged == count["total"] and stamps == _stamps(workspace, name):
        reporter.line(_before(name, count["total"], diverged))


def _before(name: str, total: int, diverged: int) -> str:
    return f"{name}: {total} of {total} done before" + (f", {diverged} of them diverged" if diverged else "")


def parse_splits(text: str, total: int) -> list[int]:
    """`0-3,8` -> [0, 1, 2, 3, 8]."""
    splits: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if not first <= last < total:
            raise UsageError(f"--splits: expected numbers from 0 to {total - 1} such as 0-15 or 3,7, found {text!r}")
        splits.update(range(first, last + 1))
    return sorted(splits)


def _run(name: str, workspace: Workspace, reporter: Reporter, allow_partial: bool) -> None:
    if name in ("ingest", "group", "sample"):
        with contextlib.nullcontext() if _is_done(name, workspace) else unchanged(workspace):
            stage(name)(workspace, reporter)
        return
    if name != "aggregate":
        stage(name)(workspace, reporter)
        return
    stage(name)(workspace, reporter, allow_partial)
    import_module("pipelines.diagnose").run(workspace, workspace.usable_splits())


def _is_done(name: str, workspace: Workspace) -> bool:
    """Whether a stage before training will find all its files as they should be."""
    layout, config = workspace.layout, workspace.config
    if name == "ingest":
        return workspace.ingested()
    if name == "group":
        paths = [(layout.groups(n), workspace.group_inputs(config.rule(n))) for n in workspace.design_rules()]
    else:
        return not workspace.blocks_to_draw()
    return all(is_done(path, inputs) for path, inputs in paths)


def _on(workspace: Workspace, cluster: Cluster | None) -> Workspace:
    if cluster is None:
        return workspace
    return replace(workspace, config=workspace.config.model_copy(update={"cluster": cluster}))
