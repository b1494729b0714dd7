"""What goes with the models: scores by epoch, whether there are enough models, how they were trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.plots.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    LINES,
    MARKERS,
    NATS,
    VERMILION,
    Floats,
    label,
    legend,
    nothing,
)
from memo.estimators import spearman_brown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CURVES = 64  # models whose curves are drawn; the median is of all


def by_epoch(frame: "pd.DataFrame", ax: "Axes") -> "Axes":
    """Loss of the models with and without a document after each epoch that was evaluated; memorization between them.

    frame: epoch, loss_in, loss_out, and perhaps memorization with p10 and p90, as of `campaign.by_epoch()`, or with
    ci_low and ci_high; also the `by_epoch` of one document.
    """
    ax.set(xlabel="epochs trained", ylabel=NATS)
    frame = frame.dropna(subset=["loss_in", "loss_out"])
    if frame.empty:
        return nothing(ax, "no evaluation has losses on both sides")
    epoch, inside, outside = (frame[name].to_numpy(dtype=np.float64) for name in ("epoch", "loss_in", "loss_out"))
    ax.plot(epoch, outside, color=VERMILION, marker="s", ls="--", label="loss of models that never saw it")
    ax.plot(epoch, inside, color=BLUE, marker="o", ls="-", label="loss of models that trained on it")
    ax.fill_between(epoch, inside, outside, color=GREY, alpha=0.15, linewidth=0)
    gap = frame["memorization"].to_numpy(dtype=np.float64) if "memorization" in frame else outside - inside
    ends, told = _ends(frame, gap)
    ax.errorbar(epoch, gap, yerr=ends, color=GREEN, marker="^", ls="-.", capsize=3, label=f"memorization{told}")
    ax.axhline(0, color=GREY, lw=1, ls=":")
    if len(epoch) <= 12:
        ax.set_xticks(epoch, [f"{e:g}" for e in epoch])
    legend(ax)
    return ax


def _ends(frame: "pd.DataFrame", middle: Floats) -> tuple[Floats | None, str]:
    """Length of the bars below and above, and what they are."""
    for low, high, told in (("ci_low", "ci_high", ", 95 % interval"), ("p10", "p90", ", and 80 % of the documents")):
        if {low, high} <= set(frame.columns):
            ends = np.stack([middle - frame[low], frame[high] - middle]).astype(np.float64)
            return np.maximum(np.nan_to_num(ends), 0.0), told
    return None, ""


def reliability(diagnostics: Mapping[str, Any], ax: "Axes") -> "Axes":
    """How alike two campaigns of n models would rank the documents: measured on halves, and predicted beyond.

    diagnostics: diagnostics.json (`campaign.diagnostics()`), or what it says of one rule. Points: Spearman's rank
    correlation of two halves, with the spread over the ways to halve; lines: Spearman and Brown's formula from the
    largest halves.
    """
    rules = diagnostics.get("rules", {"all documents": diagnostics})
    ax.set(xlabel="models", ylabel="rank correlation of two campaigns", ylim=(min(0.0, _least(rules)), 1.02))
    drawn = [rule for rule, found in rules.items() if _curve(ax, rule, found, len(ax.containers))]
    if not drawn:
        return nothing(ax, "too few models to measure it")
    first = rules[drawn[0]]
    ax.axhline(first["target"], color=GREY, lw=1, ls=":", label=f"target {first['target']:g}")
    ax.axvline(first["models"], color=GREY, lw=1, ls="--", label=f"this campaign: {first['models']:,} models")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    legend(ax, loc="lower right")
    return ax


def _least(rules: Mapping[str, Any]) -> float:
    """The lowest end of a measured point."""
    found = [a["mean"] - a["sd"] for rule in rules.values() for a in rule["agreement"] if a["mean"] is not None]
    return min([1.0, *found]) - 0.02


def _curve(ax: "Axes", rule: str, found: Mapping[str, Any], number: int) -> bool:
    """One rule's points and prediction; False where nothing was measured."""
    agreement = [a for a in found["agreement"] if a["mean"] is not None]
    if not agreement:
        return False
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    models, mean, sd = ([a[name] for a in agreement] for name in ("models", "mean", "sd"))
    ax.errorbar(models, mean, yerr=sd, fmt=marker, color=colour, capsize=3, label=f"{label(rule, 24)}, halves")
    beyond = np.geomspace(models[-1], 4 * found["models"], 50)
    predicted = [spearman_brown(mean[-1], count / models[-1]) for count in beyond]
    ax.plot(beyond, predicted, color=colour, ls=LINES[number % len(LINES)], label=f"{label(rule, 24)}, predicted")
    return True


def training_curves(logs: "pd.DataFrame", ax: "Axes") -> "Axes":
    """Training loss of each model as its training went on, and the median of all.

    logs: split, step, steps and loss, of `campaign.training_log()`: about a line a second, so short trainings have few.
    """
    ax.set(xlabel="share of the training", ylabel=f"training loss, {NATS}")
    logs = logs.dropna(subset=["step", "steps", "loss"])
    if logs.empty:
        return nothing(ax, "no model has logged a step")
    done = logs["step"] / logs["steps"]
    for split in logs["split"].drop_duplicates().head(CURVES):
        mine = (logs["split"] == split).to_numpy()
        ax.plot(done[mine], logs["loss"][mine], color=BLUE, lw=0.8, alpha=0.35, rasterized=True)
    tenths = (10 * done).clip(0, 9.999).astype(int)
    medians = logs["loss"].groupby(tenths).median()
    models = logs["split"].nunique()
    name = f"median of {models:,} models" + (f", {CURVES} of them drawn" if models > CURVES else "")
    ax.plot((medians.index + 0.5) / 10, medians, color=VERMILION, marker="s", ls="--", label=name)
    legend(ax)
    return ax
