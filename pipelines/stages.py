"""The pipeline: a list of stages, each a function that reads files and writes files.

A stage that has nothing to do returns at once, before it imports anything heavy; so running a finished campaign again
costs a look at its records.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from memo.config import CampaignConfig
from memo.errors import UsageError
from memo.layout import Layout
from memo.lock import writer
from pipelines.progress import Reporter
from pipelines.status import status
from pipelines.workspace import Workspace, open_workspace, settle

Stage = Callable[[Workspace, Reporter], None]
STAGES = ("ingest", "group", "sample", "train", "aggregate")


def stage(name: str) -> Stage:
    """The function of a stage, imported when it is asked for."""
    run: Stage = import_module(f"pipelines.{name}").run
    return run


def run_config(
    config: CampaignConfig, root: Path, reporter: Reporter, stages: tuple[str, ...] = STAGES
) -> tuple[Workspace, bool]:
    """Runs stages of a campaign file in a directory, new or begun. Also gives whether it was complete already.

    Raises `UsageError` for a changed setting.
    """
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root}: expected a directory or nothing, found a file; choose another --dir")
    with writer(Layout(root).lock):
        workspace = settle(config, root)
        complete = status(root)["complete"]
        for name in stages:
            stage(name)(workspace, reporter)
    return workspace, complete


def run_stage(name: str, root: Path, reporter: Reporter) -> Workspace:
    """Runs one stage of an existing campaign with its own saved configuration."""
    workspace = open_workspace(root)
    with writer(workspace.layout.lock):
        workspace.refuse_changes()
        stage(name)(workspace, reporter)
    return workspace
