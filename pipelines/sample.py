"""Third stage: flips every coin of the campaign, and checks what came out as read back from disk.

All splits exist before the first model is trained, so no model can depend on another's fate.
"""

from memo.config import DOCUMENT_RULE
from memo.errors import UsageError
from memo.splits import block_bytes, read_block
from memo.store import is_done, publishing
from pipelines.progress import Reporter
from pipelines.workspace import Workspace
from subsets.checks import check_block, check_cells, check_enough_documents
from subsets.designs import Resolution, draw_block, keys_of_units, resolutions
from subsets.designs.resolution import TYPICAL_NOISE_NATS


def run(workspace: Workspace, reporter: Reporter) -> None:
    """Writes design/block-*.safetensors for the blocks that are not there yet."""
    layout, config = workspace.layout, workspace.config
    todo = [b for b in range(config.design.blocks) if not is_done(layout.block(b), workspace.block_inputs(b))]
    if not todo:
        return
    from memo.campaign import Campaign

    campaign = Campaign(layout, config)
    try:
        units = campaign.units
    except ValueError as error:
        names = ", ".join(config.design.levels)
        raise UsageError(f"design: {names}: {error}; name rules that give a partition") from error
    resolved = resolutions(config.design, units)
    check_enough_documents(units)
    check_cells(resolved, config.design)
    for name, grown in zip(units.names, units.joined, strict=True):
        if grown:
            reporter.line(
                f"sample: {name}: {grown:,} of its groups cut a group of the rung below; they are joined with it"
            )
    for resolution in resolved:
        reporter.line(_describe(resolution))
    keys = keys_of_units(campaign.doc_ids, units)
    controls = campaign.control_texts()["doc_id"].tolist()
    with reporter.bar("sample", config.design.blocks, "block") as bar:
        for block in todo:
            drawn = draw_block(config.design, keys, units, block, config.seed, controls)
            with publishing(layout.block(block), workspace.block_inputs(block)) as path:
                path.write_bytes(block_bytes(drawn))
                check_block(read_block(path), block, units, config.design)
            bar.update(block + 1)


def _describe(resolved: Resolution) -> str:
    what = "documents" if resolved.name == DOCUMENT_RULE else "groups of two documents or more"
    if not resolved.groups:
        return f"sample: {resolved.name}: no {what}"
    return (
        f"sample: {resolved.name}: {resolved.groups:,} {what}, at least {resolved.splits_in:.0f} splits in and "
        f"{resolved.splits_out:.0f} out expected; standard error {resolved.standard_error():.2f} nats per token at a "
        f"noise of {TYPICAL_NOISE_NATS} per model"
    )
