"""Third stage: flips every coin of the campaign, and checks what came out as read back from disk.

All splits exist before the first model is trained, so no model can depend on another's fate.
"""

from memo.errors import UsageError
from memo.seeding import unit_keys
from memo.splits import block_bytes, read_block
from memo.store import is_done, publishing
from pipelines.progress import Reporter
from pipelines.workspace import Workspace
from subsets.checks import check_block, check_enough_documents
from subsets.designs import draw_block, unit_identifiers


def run(workspace: Workspace, reporter: Reporter) -> None:
    """Writes design/block-*.safetensors for the blocks that are not there yet."""
    layout, config = workspace.layout, workspace.config
    todo = [b for b in range(config.design.blocks) if not is_done(layout.block(b), workspace.block_inputs(b))]
    if not todo:
        return
    from memo.campaign import Campaign

    campaign = Campaign(layout, config)
    try:
        unit_of = campaign.unit_of
    except ValueError as error:
        raise UsageError(f"design.unit: {config.design.unit}: {error}; name a rule that gives a partition") from error
    check_enough_documents(len(campaign.doc_ids), unit_of, config.design)
    keys = unit_keys(unit_identifiers(campaign.doc_ids, unit_of))
    with reporter.bar("sample", config.design.blocks, "block") as bar:
        for block in todo:
            drawn = draw_block(config.design, keys, unit_of, block, config.seed)
            check_block(drawn, block, unit_of, config.design)
            with publishing(layout.block(block), workspace.block_inputs(block)) as path:
                path.write_bytes(block_bytes(drawn))
                check_block(read_block(path), block, unit_of, config.design)
            bar.update(block + 1)
