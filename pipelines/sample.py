"""Third stage: flips every coin of the campaign, and checks what came out as read back from disk.

All splits exist before the first model is trained, so no model can depend on another's fate.
"""

from typing import TYPE_CHECKING

from memo.design_settings import DOCUMENT_RULE
from memo.errors import UsageError
from memo.sets import CONTROL, Sets, read_sets, write_sets
from memo.splits import block_bytes, read_block
from memo.store import is_done, publishing
from memo.units import Units
from pipelines.progress import Reporter
from pipelines.workspace import Workspace
from subsets.checks import check_block, check_cells, check_enough_documents
from subsets.designs import Resolution, draw_block, keys_of_units, resolutions
from subsets.designs.knockout import build_sets, draw_removed, remove
from subsets.designs.resolution import TYPICAL_NOISE_NATS

if TYPE_CHECKING:
    from memo.campaign import Campaign


def run(workspace: Workspace, reporter: Reporter) -> None:
    """Writes design/block-*.safetensors for the blocks that are not there yet."""
    layout, config = workspace.layout, workspace.config
    todo = workspace.blocks_to_draw()
    if not todo:
        return
    from memo.campaign import Campaign

    campaign = Campaign(layout, config)
    units, resolved = checked_units(campaign)
    sets = _sets(workspace, campaign, reporter)
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
            if sets is not None:
                drawn = remove(drawn, draw_removed(config.design, sets, block, config.seed), sets, units)
            with publishing(layout.block(block), workspace.block_inputs(block)) as path:
                path.write_bytes(block_bytes(drawn))
                check_block(read_block(path), block, units, config.design, sets)
            bar.update(block + 1)


def _sets(workspace: Workspace, campaign: "Campaign", reporter: Reporter) -> Sets | None:
    """The sets that the design removes, written down; None where it removes none."""
    layout, design = workspace.layout, workspace.config.design
    if design.knockout is None:
        return None
    if not is_done(layout.sets, workspace.sets_inputs()):
        rules = {name: campaign.rule_groups(name) for name in design.knockout.sets}
        sets = build_sets(design, rules, campaign.doc_ids, campaign.n_tokens, workspace.config.seed)
        with publishing(layout.sets, workspace.sets_inputs()) as path:
            write_sets(path, sets, campaign.doc_ids)
    sets = read_sets(layout.sets, campaign.doc_ids)
    tokens = sets.tokens(campaign.n_tokens)
    for name in (*design.knockout.sets, CONTROL):
        mine = sets.of_rule(name)
        if len(mine):
            plural = "s" if len(mine) > 1 else ""
            reporter.line(
                f"sample: {name}: {len(mine):,} set{plural} of {tokens[mine].min():,} to {tokens[mine].max():,} "
                f"tokens, removed from {design.knockout.probability:.0%} of the splits"
            )
    return sets


def checked_units(campaign: "Campaign") -> tuple[Units, list[Resolution]]:
    """What flips coins and what each level resolves; raises `UsageError` for a design that is none or too small."""
    design = campaign.config.design
    try:
        units = campaign.units
    except ValueError as error:
        names = ", ".join(design.levels)
        raise UsageError(f"design: {names}: {error}; name rules that give a partition") from error
    resolved = resolutions(design, units)
    check_enough_documents(units)
    check_cells(resolved, design)
    return units, resolved


def _describe(resolved: Resolution) -> str:
    what = "documents" if resolved.name == DOCUMENT_RULE else "groups of two documents or more"
    if not resolved.groups:
        return f"sample: {resolved.name}: no {what}"
    return (
        f"sample: {resolved.name}: {resolved.groups:,} {what}, at least {resolved.splits_in:.0f} splits in and "
        f"{resolved.splits_out:.0f} out expected; standard error {resolved.standard_error():.2f} nats per token at a "
        f"noise of {TYPICAL_NOISE_NATS} per model"
    )
