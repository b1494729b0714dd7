"""Second stage: runs every duplication rule over the documents and keeps its groups."""

from typing import TYPE_CHECKING

from memo.config import RuleSpec
from memo.store import is_done, publishing
from pipelines.progress import Reporter
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


def run(workspace: Workspace, reporter: Reporter) -> None:
    """Writes groups/NAME.parquet for each rule whose table is missing or was made from something else."""
    todo = [
        spec
        for spec in workspace.config.rules
        if not is_done(workspace.layout.groups(spec.name), workspace.group_inputs(spec))
    ]
    if not todo:
        return
    import pyarrow.parquet as pq

    documents = pq.read_table(workspace.layout.documents).to_pandas()
    for spec in todo:
        reporter.line(f"group: {spec.name}")
        _write(workspace, spec, documents, reporter)


def _write(workspace: Workspace, spec: RuleSpec, documents: "pd.DataFrame", reporter: Reporter) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from memo.rules import apply
    from subsets.registry import resolve

    frame = apply(resolve(spec), documents, spec.parameters)
    sizes = frame["group_id"].value_counts()
    several = sizes[sizes > 1]
    notes = {
        "groups": len(sizes),
        "groups_of_two_or_more": len(several),
        "documents_in_them": int(frame["group_id"].isin(several.index).sum()),
        "largest": int(sizes.max()) if len(sizes) else 0,
    }
    with publishing(workspace.layout.groups(spec.name), workspace.group_inputs(spec), notes) as path:
        columns = {name: pa.array(frame[name].tolist(), pa.string()) for name in ("doc_id", "group_id")}
        pq.write_table(pa.table(columns), path, compression="zstd")
    reporter.line(
        f"group: {spec.name}: {notes['groups']:,} groups, {notes['groups_of_two_or_more']:,} of two documents or more "
        f"(largest {notes['largest']:,})"
    )
