"""Third stage: flips every coin of the campaign, and checks what came out as read back from disk.

All splits exist before the first model is trained, so no model can depend on another's fate.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from memo.design_settings import DOCUMENT_RULE, SMALLEST_CELL
from memo.errors import UsageError
from memo.sets import CONTROL, read_copied, read_sets, write_copied, write_sets
from memo.splits import block_bytes, read_block
from memo.store import is_done, publishing
from memo.units import Units
from pipelines.progress import Reporter
from pipelines.workspace import Workspace
from subsets.checks import check_block, check_cells, check_enough_documents
from subsets.designs import Resolution, draw_block, keys_of_units, resolutions
from subsets.designs.copies import choose_copied, draw_copies, rule_of, with_copies
from subsets.designs.knockout import build_sets, draw_removed, remove
from subsets.designs.parts import Parts
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
    parts = _written(workspace, campaign, checked_parts(campaign))
    units, sets, copied = parts.units, parts.sets, parts.copied
    for line in (*_joined(units), *_removed(campaign, parts), *_copied(parts), *_resolved(parts)):
        reporter.line(f"sample: {line}")
    keys = keys_of_units(campaign.doc_ids, units)
    controls = campaign.control_texts()["doc_id"].tolist()
    with reporter.bar("sample", config.design.blocks, "block") as bar:
        for block in todo:
            drawn = draw_block(config.design, keys, units, block, config.seed, controls)
            if copied is not None:
                names = [campaign.doc_ids[place] for place in copied]
                drawn = with_copies(drawn, draw_copies(config.design, names, block, config.seed), copied, units)
            if sets is not None:
                gone, paired = draw_removed(config.design, sets, block, config.seed), config.design.base == "complement"
                drawn = remove(drawn, gone, sets, units, paired)
            with publishing(layout.block(block), workspace.block_inputs(block)) as path:
                path.write_bytes(block_bytes(drawn))
                check_block(read_block(path), block, units, config.design, sets, copied)
            bar.update(block + 1)


def checked_parts(campaign: "Campaign") -> Parts:
    """What flips coins, what is removed whole and what is copied; raises `UsageError` for a design that is none or too
    small."""
    design, doc_ids, seed = campaign.config.design, campaign.doc_ids, campaign.config.seed
    try:
        units = campaign.units
    except ValueError as error:
        names = ", ".join(design.levels)
        raise UsageError(f"design: {names}: {error}; name rules that give a partition") from error
    check_enough_documents(units)
    check_cells(resolutions(design, units), design)
    rules = {name: campaign.rule_groups(name) for name in (design.knockout.sets if design.knockout else ())}
    copied = sets = None
    if design.copies is not None:
        rule = rule_of(design)
        groups = None if rule is None else campaign.rule_groups(rule)
        in_sets = np.unique(np.concatenate([np.empty(0, np.int64), *(found.document for found in rules.values())]))
        copied = choose_copied(design, groups, doc_ids, campaign.n_tokens, units, in_sets, seed)
    if design.knockout is not None:
        sets = build_sets(design, rules, doc_ids, campaign.n_tokens, seed, copied, units)
    return Parts(design, units, sets, copied)


def _written(workspace: Workspace, campaign: "Campaign", parts: Parts) -> Parts:
    """With the sets and the copied documents as they are on disk, and there they are now."""
    layout = workspace.layout
    if parts.copied is not None and not is_done(layout.copied, workspace.copied_inputs()):
        with publishing(layout.copied, workspace.copied_inputs()) as path:
            write_copied(path, parts.copied, campaign.doc_ids)
    if parts.sets is not None and not is_done(layout.sets, workspace.sets_inputs()):
        with publishing(layout.sets, workspace.sets_inputs()) as path:
            write_sets(path, parts.sets, campaign.doc_ids)
    sets = None if parts.sets is None else read_sets(layout.sets, campaign.doc_ids)
    return replace(parts, sets=sets, copied=None if parts.copied is None else read_copied(layout.copied))


def _joined(units: Units) -> Iterator[str]:
    for name, grown in zip(units.names, units.joined, strict=True):
        if grown:
            yield f"{name}: {grown:,} of its groups cut a group of the rung below; they are joined with it"


def _removed(campaign: "Campaign", parts: Parts) -> Iterator[str]:
    knockout, sets = parts.design.knockout, parts.sets
    if knockout is None or sets is None:
        return
    tokens = sets.tokens(campaign.n_tokens)
    for name in (*knockout.sets, CONTROL):
        mine = sets.of_rule(name)
        if len(mine):
            plural = "s" if len(mine) > 1 else ""
            least, most = tokens[mine].min(), tokens[mine].max()
            yield (
                f"{name}: {len(mine):,} set{plural} of {least:,} to {most:,} tokens, removed from "
                f"{knockout.probability:.0%} of the splits"
            )


def _copied(parts: Parts) -> Iterator[str]:
    if parts.copied is not None and parts.design.copies is not None:
        numbers = parts.design.copies.counts
        yield (
            f"copies: {len(parts.copied):,} documents, each {', '.join(map(str, numbers[:-1]))} or {numbers[-1]} times "
            f"in a split, {parts.design.splits / len(numbers):g} splits for each number"
        )


def _resolved(parts: Parts) -> Iterator[str]:
    """What each rung can resolve."""
    for resolved in resolutions(parts.design, parts.units, parts):
        yield _describe(resolved)
        if min(resolved.splits_in, resolved.splits_out) < SMALLEST_CELL and parts.sets is not None and resolved.groups:
            yield (
                f"{resolved.name}: some groups expect fewer than {SMALLEST_CELL} splits on a side, because their coins "
                "do not count where a set with one of their documents is removed; their scores say so"
            )


def _describe(resolved: Resolution) -> str:
    what = "documents" if resolved.name == DOCUMENT_RULE else "groups of two documents or more"
    if not resolved.groups:
        return f"{resolved.name}: no {what}"
    return (
        f"{resolved.name}: {resolved.groups:,} {what}, at least {resolved.splits_in:.0f} splits in and "
        f"{resolved.splits_out:.0f} out expected; standard error {resolved.standard_error():.2f} nats per token at a "
        f"typical noise of {TYPICAL_NOISE_NATS} per model (a pilot measures yours: memo plan --pilot)"
    )
