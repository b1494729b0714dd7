"""`memo report`: the campaign as a page."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from memo.text import for_terminal
from pipelines.options import DirArgument, QuietOption
from pipelines.terminal import say


def report(
    context: typer.Context,
    directory: DirArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there; by default DIR/report.html.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """One HTML file that shows the campaign: checks, figures, spectrum, documents. After `memo aggregate`.

    It loads nothing and can be sent to anybody who may read the corpus.

    Example: memo report campaigns/first --out first.html
    """
    from memo.lock import writer
    from pipelines.progress import Reporter
    from pipelines.report import make_report, write_elsewhere
    from pipelines.status import stale_scores
    from pipelines.workspace import open_workspace

    workspace = open_workspace(directory)
    if any(stale_scores(directory, rule) for rule in workspace.rules):
        line = f"memo: the score tables are older than the campaign; renew them: memo aggregate {directory}"
        print(for_terminal(line), file=sys.stderr)
    if out is None or out.resolve() == workspace.layout.report.resolve():
        with writer(workspace.layout.lock):
            path = make_report(workspace, Reporter(quiet), context.obj)
    else:
        path = out
        write_elsewhere(workspace, out, context.obj)
    say(f"{path}: {path.stat().st_size / 1e6:,.1f} MB; open it in a browser")
