"""A rule that comes when the models are trained: scored from the splits in which its groups happen to be whole.

No model is trained again. A group counts where all of it came in, or none of it, by coins that decided nothing else: of
k documents with coins of their own, in a share p^k of the splits on the one side and (1 - p)^k on the other.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from memo.campaign_file import with_rule
from memo.errors import UsageError
from memo.layout import Layout
from memo.lock import writer
from pipelines.progress import Reporter
from pipelines.stages import stage
from pipelines.workspace import open_workspace, settle, settled

ENOUGH = 8  # splits on a side


def add_rule(root: Path, text: str, reporter: Reporter) -> dict[str, Any]:
    """Adds a rule, as in a campaign file, to a campaign; makes its groups, and its scores where models are trained.

    Returns `rule`, `groups`, `documents`, `splits` (trained), `splits_in` and `splits_out` (of the median group of two
    documents or more), `scored` (groups with a standard error), `needed` (splits that would give the median group 8 on
    either side; None where no number of them would).
    """
    from memo.campaign import open_campaign

    workspace = open_workspace(root)
    config = with_rule(workspace.config, text, Path.cwd())
    name = config.rules[-1].name
    with writer(Layout(root).lock):
        stage("group")(settled(config, root), reporter)  # a rule that fails leaves the campaign as it was
        workspace = settle(config, root)
        campaign = open_campaign(root)
        trained = campaign.trained_splits()
        found = _counts(campaign, name, trained)
        if trained and len(trained) == config.design.splits and workspace.rules:
            stage("aggregate")(workspace, reporter, False)
    return {"rule": name, "splits": len(trained), **found}


def _counts(campaign: Any, name: str, trained: list[int]) -> dict[str, Any]:
    """On which side of how many splits the groups are."""
    try:
        campaign.layout.block(0).stat()
    except FileNotFoundError as error:
        raise UsageError(
            f"{campaign.layout.root}: the rule is added; expected splits to count, found none yet: memo sample"
        ) from error
    contrast = campaign.scored_rule(name, range(campaign.config.design.splits)).contrast
    groups = campaign.scored_groups(name)
    several = np.flatnonzero(groups.sizes > 1)
    inside, outside = contrast.treated & contrast.valid, ~contrast.treated & contrast.valid
    here = np.isin(np.arange(len(inside)), trained)
    n_in, n_out = inside[here].sum(axis=0), outside[here].sum(axis=0)
    result: dict[str, Any] = {
        "groups": len(groups.ids),
        "documents": len(np.unique(groups.document)),
        "scored": int(((n_in >= 2) & (n_out >= 2)).sum()),
        "splits_in": None,
        "splits_out": None,
        "needed": None,
    }
    if len(several):
        worst = np.minimum(inside[:, several].sum(axis=0), outside[:, several].sum(axis=0)) / len(inside)
        result["splits_in"] = float(np.median(n_in[several]))
        result["splits_out"] = float(np.median(n_out[several]))
        result["needed"] = _needed(campaign, float(np.median(worst)), int(np.median(groups.sizes[several])))
    return result


def _needed(campaign: Any, share: float, documents: int) -> int | None:
    """Splits that give 8 on the emptier side, from the share found, or where none is, from the chance of it."""
    design = campaign.config.design
    if share == 0 and not design.ladder:
        share = min(design.include, 1 - design.include) ** documents
    if share * 1e6 < ENOUGH:
        return None
    return math.ceil(ENOUGH / share / design.block_size) * design.block_size


def in_words(found: dict[str, Any]) -> str:
    """For people."""
    said = (
        f"{found['rule']}: {found['groups']:,} groups with {found['documents']:,} documents; {found['scored']:,} have "
        f"a standard error from the {found['splits']} models at hand"
    )
    if found["splits_in"] is None:
        return said
    said += f"; the median group is whole in {found['splits_in']:g} of them and whole out of {found['splits_out']:g}"
    if found["needed"] is None:
        return f"{said}; no number of splits would do: make it a unit, a rung or a knockout set of a new campaign"
    if min(found["splits_in"], found["splits_out"]) >= ENOUGH:
        return said
    return f"{said}; {ENOUGH} on either side take about {found['needed']:,} splits, or a coin of its own"
