"""Second stage: runs every duplication rule over the documents and keeps its groups."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from memo.config import RuleSpec
from memo.store import is_done, publishing, read_parquet
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
    documents = read_parquet(workspace.layout.documents).to_pandas()
    for spec in todo:
        reporter.line(f"group: {spec.name}")
        _write(workspace, spec, documents, reporter)


def _write(workspace: Workspace, spec: RuleSpec, documents: "pd.DataFrame", reporter: Reporter) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from memo.rules import NOTES
    from subsets.complexity import description_bytes
    from subsets.running import groups_of

    frame = groups_of(spec, documents, workspace.layout.documents)
    sizes = frame["group_id"].value_counts()
    several = sizes[sizes > 1]
    notes: dict[str, Any] = {
        "groups": len(sizes),
        "groups_of_two_or_more": len(several),
        "documents_in_them": int(frame["group_id"].isin(several.index).sum()),
        "largest": int(sizes.max()) if len(sizes) else 0,
        "in_several_groups": int((frame["doc_id"].value_counts() > 1).sum()),
        "description_bytes": description_bytes(spec),
    }
    said = frame.attrs.get(NOTES, {})
    with publishing(workspace.layout.groups(spec.name), workspace.group_inputs(spec), {**notes, "rule": said}) as path:
        columns = {name: pa.array(frame[name].tolist(), pa.string()) for name in ("doc_id", "group_id")}
        pq.write_table(pa.table(columns), path, compression="zstd")
    reporter.line(
        f"group: {spec.name}: {notes['groups']:,} groups, {notes['groups_of_two_or_more']:,} of two documents or more "
        f"(largest {notes['largest']:,})"
        + (f"; {notes['in_several_groups']:,} documents stand in several groups" if notes["in_several_groups"] else "")
    )
    _warn(spec.name, said, reporter)


def _warn(name: str, said: Mapping[str, Any], reporter: Reporter) -> None:
    """Groups that a reader should look at before believing their scores. They are never split."""
    if said.get("chains"):
        reporter.line(
            f"group: {name}: {said['chains']:,} of them are chains: A is like B and B like C, but A is not like C"
        )
    if said.get("notice"):
        reporter.line(f"group: {name}: {said['notice']}")
    for giant in said.get("giants", []):
        reporter.line(
            f"group: {name}: a giant: {giant['documents']:,} documents in one group, {giant['share']:.0%} of all"
        )
    if said.get("unlabelled"):
        reporter.line(f"group: {name}: {said['unlabelled']:,} documents have no label")
    if said.get("unknown_ids"):
        reporter.line(f"group: {name}: {said['unknown_ids']:,} labels are for ids that are not in the corpus")
