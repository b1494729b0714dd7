"""The stage after the last: the page that shows a campaign. Whoever calls it brings the function that writes the page.

    make_report(workspace, reporter, write)

The command line alone knows `analysis`, which holds that function.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from memo.errors import UsageError
from memo.store import is_done, publishing, remove, temporary_path
from pipelines.progress import Reporter
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from memo.campaign import Campaign

Writer = Callable[["Campaign", Path], None]  # of a campaign and the path to write to


def make_report(workspace: Workspace, reporter: Reporter, write: Writer) -> Path:
    """Writes report.html of the campaign, unless it is there and made from the same; gives its path.

    Only for the holder of the lock. Raises `MemoError` where there are no scores to report.
    """
    path, inputs = workspace.layout.report, workspace.report_inputs()
    if workspace.rules and is_done(path, inputs):
        return path
    from memo.campaign import Campaign

    if workspace.rules:
        reporter.line("report: making the page")
    with publishing(path, inputs) as temporary:
        write(Campaign(workspace.layout, workspace.config), temporary)
    return path


def write_elsewhere(workspace: Workspace, out: Path, write: Writer) -> None:
    """Writes the page to any file, whole or not at all. Raises `UsageError` for a path that cannot be one."""
    from memo.campaign import Campaign

    if out.is_dir() or not out.parent.is_dir():
        found = "a directory" if out.is_dir() else f"no directory {out.parent}"
        raise UsageError(f"--out {out}: expected a file in a directory that is there, found {found}")
    temporary = temporary_path(out)
    try:
        write(Campaign(workspace.layout, workspace.config), temporary)
        temporary.replace(out)
    finally:
        remove(temporary)
