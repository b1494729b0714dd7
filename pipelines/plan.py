"""`memo plan`: what a campaign costs and what it can resolve, before its models are trained.

The corpus is read and grouped as `memo run` would, in a temporary folder that is gone afterwards, or as it lies in a
campaign directory that was begun. Nothing is written there. A pilot, a campaign with 8 trained splits or more, tells
how noisy losses are and how fast models train; a directory with so many is its own pilot.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo.config import CampaignConfig
from memo.design_settings import Design
from memo.errors import UsageError
from memo.estimators.power import MINIMUM_PILOT
from memo.layout import Layout
from memo.store import is_done
from pipelines import plan_cells, plan_cost, plan_power
from pipelines.progress import Reporter
from pipelines.sample import checked_parts
from pipelines.stages import run_config
from pipelines.workspace import Workspace, open_workspace, refuse_imported, settled
from subsets.checks import fewest_splits
from subsets.designs import resolutions
from subsets.designs.parts import Parts
from subsets.registry import refuse_unknown

if TYPE_CHECKING:
    from memo.campaign import Campaign


def plan(
    config: CampaignConfig, config_path: Path, root: Path | None, pilot_root: Path | None, reporter: Reporter
) -> dict[str, Any]:
    """Plain data, see the README. root: of the campaign, new or begun; pilot_root: of a pilot.

    Raises `UsageError` for a design that `memo sample` would refuse, settings that differ from those a directory was
    made with, and a pilot with fewer than 8 trained splits.
    """
    from memo.campaign import Campaign

    pilot = None if pilot_root is None else _named_pilot(pilot_root)
    with _prepared(config, root, reporter) as workspace:
        campaign = Campaign(workspace.layout, workspace.config)
        parts = checked_parts(campaign)
        units = parts.units
        if pilot is None and root is not None:
            pilot = _own_pilot(root)
        design = workspace.config.design
        rungs = [plan_power.rung(parts, level) for level in range(len(units.chain))]
        cells = [*plan_cells.of_sets(campaign, parts), *plan_cells.of_copies(campaign, parts)]
        if pilot is not None:
            for level, rung in enumerate(rungs):
                rung.update(plan_power.predicted(campaign, parts, level, pilot))
            plan_cells.add_errors(cells, design, pilot)
        done = _trained(workspace) if root is not None and workspace.layout.root == root else 0
        return {
            "documents": len(campaign.doc_ids),
            "tokens": int(campaign.n_tokens.sum()),
            "splits": design.splits,
            "splits_trained": done,
            "block": design.block_size,
            "base": design.base,
            "include": design.include,
            "rungs": rungs,
            "cells": cells,
            **plan_cost.cost(campaign, workspace, parts),
            "pilot": None if pilot is None else plan_power.about_pilot(pilot, campaign),
            "time": None if pilot is None else plan_cost.time_left(campaign, parts, design.splits - done, pilot),
            "not_known": _not_known(pilot, parts, workspace.config, config_path, root),
        }


@contextlib.contextmanager
def _prepared(config: CampaignConfig, root: Path | None, reporter: Reporter) -> Iterator[Workspace]:
    """The campaign with its corpus and the groups of its design, in its directory or in a temporary one."""
    refuse_imported(config, root or Path())
    if root is not None and root.exists() and not root.is_dir():
        raise UsageError(f"{root}: expected a directory or nothing, found a file; choose another --dir")
    if root is not None and Layout(root).config.exists():
        begun = settled(config, root)
        if _is_prepared(begun):
            yield begun
            return
        config = begun.config  # with the block size that it was begun with
    for spec in config.rules:
        refuse_unknown(spec)
    rules = [spec for spec in config.rules if spec.name in config.design.rules]
    config = config.model_copy(update={"rules": tuple(rules), "until": type(config.until)()})
    with tempfile.TemporaryDirectory(prefix="memo-plan-") as folder:
        yield run_config(config, Path(folder) / "campaign", reporter, stages=("ingest", "group"))[0]


def _is_prepared(workspace: Workspace) -> bool:
    if not workspace.ingested():
        return False
    specs = (workspace.config.rule(name) for name in workspace.design_rules())
    return all(is_done(workspace.layout.groups(spec.name), workspace.group_inputs(spec)) for spec in specs)


def _trained(workspace: Workspace) -> int:
    from memo.campaign import Campaign

    return len(Campaign(workspace.layout, workspace.config).trained_splits())


def _own_pilot(root: Path) -> "Campaign | None":
    """The campaign's own directory, where enough of it is trained."""
    if not Layout(root).config.exists():
        return None
    pilot = _open(root)
    return pilot if len(plan_power.splits_of(pilot)) >= MINIMUM_PILOT else None


def _named_pilot(root: Path) -> "Campaign":
    pilot = _open(root)
    found = len(plan_power.splits_of(pilot))
    if found < MINIMUM_PILOT:
        raise UsageError(
            f"--pilot {root}: expected at least {MINIMUM_PILOT} trained splits, found {found}; train more of them"
        )
    return pilot


def _open(root: Path) -> "Campaign":
    from memo.campaign import Campaign

    workspace = open_workspace(root)
    if not workspace.rules:
        raise UsageError(f"--pilot {root}: expected losses of the documents trained on, found those of other texts")
    return Campaign(workspace.layout, workspace.config)


def _not_known(
    pilot: "Campaign | None",
    parts: Parts,
    config: CampaignConfig,
    config_path: Path,
    root: Path | None,
) -> str | None:
    """What a pilot would tell, and the command that makes one as the beginning of the campaign."""
    if pilot is not None:
        return None
    design = config.design
    fewest = fewest_splits(resolutions(design, parts.units), design, parts.sets, parts.units.chain.shape[1])
    number = -(-max(MINIMUM_PILOT, fewest) // design.block_size) * design.block_size
    told = f"standard errors, reliability and time are not known before {MINIMUM_PILOT} splits are trained"
    if number >= design.splits:
        return f"{told}; this campaign is no larger than a pilot"
    directory = root or Path("campaigns") / config_path.stem
    small = f"--set design.splits={number}"
    if (
        Design.model_validate({**design.model_dump(), "splits": number, "block": "auto"}).block_size
        != design.block_size
    ):
        small += f" --set design.block={design.block_size}"
    return (
        f"{told}; train {number} first, which the campaign keeps: memo run {config_path} --dir {directory} {small}, "
        f"then memo plan {config_path} --dir {directory}"
    )
