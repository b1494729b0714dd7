"""`--until-se`, `--until-reliability`: adds whole blocks of splits until the scores are good enough.

Looking again and again until a number is small enough favours runs whose number is small by chance, so intervals of a
campaign that stopped by a goal cover a little less than they say; its tables and diagnostics name the goal.
"""

from pathlib import Path
from typing import Any

from memo.campaign_file import build, load
from memo.config import CampaignConfig, Until
from memo.design_settings import Design
from memo.errors import UsageError
from memo.layout import Layout
from pipelines.progress import Reporter
from pipelines.workspace import Workspace


def shortfall(found: dict[str, Any], until: Until, levels: list[str]) -> str | None:
    """What is still missing to the goal, in words; None where it is met. found: the saved diagnostics."""
    for name in levels:
        rule = found["rules"][name]
        if rule["median_se"] is None and rule["documents"] == rule["documents_without_se"]:
            continue  # a rung without a group of its own has nothing to resolve
        se, reliability = rule["median_se"], rule["reliability"]
        if until.se is not None and (se is None or se > until.se):
            return f"{name}: median standard error {_shown(se)}, wanted {until.se}"
        if until.reliability is not None and (reliability is None or reliability < until.reliability):
            return f"{name}: reliability {_shown(reliability)}, wanted {until.reliability}"
    return None


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def refuse_too_many(config: CampaignConfig) -> None:
    """Raises `UsageError` where a campaign that has a goal begins with more splits than it may have."""
    if config.until.wanted and config.design.splits > config.until.max_splits:
        raise UsageError(
            f"until.max_splits: expected at least the {config.design.splits} splits that the campaign begins with, "
            f"found {config.until.max_splits}; raise it (--max-splits), or begin with fewer (design.splits)"
        )


def unmet(workspace: Workspace, found: dict[str, Any] | None) -> str | None:
    """What is missing to the goal of a campaign that has one; found: the saved diagnostics."""
    config = workspace.config
    return shortfall(found, config.until, list(config.design.levels)) if found and config.until.wanted else None


def grown(config: CampaignConfig, root: Path, splits: int = 1) -> CampaignConfig:
    """The same campaign with so many splits, and at least those it has and those an earlier call came to."""
    data = config.resolved()
    begun = _design_on_disk(root)
    data["design"]["splits"] = max(splits, config.design.splits, begun.splits if begun else 1)
    if begun is not None and config.design.block == "auto":
        data["design"]["block"] = begun.block_size  # what `auto` would choose changes with the number of splits
    return build(data, origin="until")


def next_splits(workspace: Workspace, reporter: Reporter, missing: str) -> int | None:
    """The number of splits of the next round; None where the limit is reached, which is said."""
    config = workspace.config
    block, now = config.design.block_size, config.design.splits
    if now + block > config.until.max_splits:
        reporter.line(f"until: {missing}; stopped at {now} splits, the most that until.max_splits allows")
        return None
    reporter.line(f"until: {missing}; {block} more splits")
    return now + block


def _design_on_disk(root: Path) -> Design | None:
    """With which an earlier call of the same command began."""
    path = Layout(root).config
    return load(path).design if path.exists() else None
