"""How the scores of documents are distributed, and what they go with: simplicity, size of the group, another rule."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.plots.style import (
    BLUE,
    DENSITY,
    GREY,
    NATS,
    POINTS,
    VERMILION,
    Floats,
    both,
    label,
    legend,
    nothing,
    points,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

BINS = 60
LEGEND_ROOM = 1.25  # height of the axes / of the highest bar, so that the legend covers none
NO_SCORES = "no document has a score"


def scores(scores: "pd.DataFrame", ax: "Axes", phantoms: "pd.DataFrame | None" = None) -> "Axes":
    """How many documents have which score, and the same of texts that no model saw: what chance alone gives.

    scores: a score table. phantoms: `campaign.controls()`; its canaries are left out. The phantoms' histogram has bins
    of its own and is drawn to the same height, so that its width can be seen.
    """
    values = _finite(scores["memorization"])
    null = np.empty(0) if phantoms is None else _finite(_phantoms(phantoms)["memorization"])
    ax.set(xlabel=f"memorization, {NATS}", ylabel="documents")
    if not len(values):
        return nothing(ax, NO_SCORES)
    counts, _, _ = ax.hist(values, _edges(values), color=BLUE, alpha=0.65, label=f"{len(values):,} documents")
    if len(null):
        edges, name = _edges(null), f"{len(null):,} phantoms, which no model saw (scaled)"
        weights = np.full(len(null), float(np.max(counts)) / np.histogram(null, edges)[0].max())
        ax.hist(null, edges, weights=weights, histtype="step", color=VERMILION, hatch="///", label=name)
    ax.axvline(0, color=GREY, lw=1, ls=":")
    ax.set_ylim(top=LEGEND_ROOM * float(np.max(counts)))
    legend(ax)
    return ax


def simplicity(scores: "pd.DataFrame", ax: "Axes", measure: Literal["accuracy", "loss"] = "accuracy") -> "Axes":
    """Memorization against simplicity, the mean performance over all models (arXiv 2112.12938, figure 1).

    scores: a score table. Its columns `mean_accuracy` and `mean_loss`, as `campaign.simplicity()` gives them, are taken
    where it has them; else the mean over the models that its scores are from. measure: of both axes; of a campaign that
    does not know accuracies it is the loss. Simple documents stand above, whatever the measure.
    """
    if measure == "accuracy" and not len(_finite(scores["memorization_accuracy"])):
        measure = "loss"
    column, unit = {"accuracy": ("memorization_accuracy", "share of tokens"), "loss": ("memorization", NATS)}[measure]
    x, y = both(scores[column], _performance(scores, measure))
    ax.set(xlabel=f"memorization, {unit}", ylabel=f"simplicity: mean {measure} of all models, {unit}")
    if measure == "loss":
        ax.yaxis.set_inverted(True)
    if not len(x):
        return nothing(ax, NO_SCORES)
    points(ax, x, y, "documents")
    ax.axvline(0, color=GREY, lw=1, ls=":")
    return ax


def group_size(scores: "pd.DataFrame", ax: "Axes") -> "Axes":
    """Score of each group against the number of documents in it, and the median of groups of like size.

    scores: a score table; a group has the mean score of its documents.
    """
    groups = scores.groupby("group_id", sort=False).agg(size=("group_size", "first"), score=("memorization", "mean"))
    size, score = both(groups["size"], groups["score"])
    ax.set(xlabel="documents kept or left out together", ylabel=f"memorization, {NATS}")
    if not len(size):
        return nothing(ax, NO_SCORES)
    exponents = np.log2(size)
    steps = np.round(exponents)
    jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(size))  # equal sizes would hide one another
    points(ax, exponents + jitter, score, "groups")
    middle = np.unique(steps)
    medians = [np.median(score[steps == step]) for step in middle]
    ax.plot(middle, medians, color=VERMILION, marker="s", ls="--", label="median of groups of like size")
    ticks = np.arange(0, max(steps.max(), 1) + 1)
    ax.set_xticks(ticks, [f"{2 ** int(tick):,}" for tick in ticks])
    legend(ax)
    return ax


def single_and_group(single: "pd.DataFrame", group: "pd.DataFrame", ax: "Axes") -> "Axes":
    """The score of a document when its whole group is left out, against the score when it alone is.

    single: the score table of the rule `document`; group: of another rule, of which groups of two or more are shown.
    Colour is the size of the group.
    """
    together = group.loc[group["group_size"] > 1, ["doc_id", "rule", "group_size", "memorization"]]
    found = single[["doc_id", "memorization"]].merge(together, on="doc_id", suffixes=("_single", "_group"))
    found = found.dropna(subset=["memorization_single", "memorization_group"])
    rule = label(found["rule"].iloc[0]) if len(found) else "the group"
    ax.set(xlabel=f"the document alone left out, {NATS}", ylabel=f"its group by {rule} left out, {NATS}")
    ax.yaxis.label.set_parse_math(False)
    if not len(found):
        return nothing(ax, "no document of a group has both scores")
    x, y = (found[f"memorization_{name}"].to_numpy() for name in ("single", "group"))
    sizes = found["group_size"].to_numpy(dtype=np.float64)
    _by_size(ax, x, y, sizes)
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    ax.plot(ends, ends, color=GREY, lw=1, ls=":", label="equal")
    legend(ax, loc="lower right")
    return ax


def _by_size(ax: "Axes", x: Floats, y: Floats, sizes: Floats) -> None:
    from matplotlib.colors import LogNorm

    norm = LogNorm(2, max(4.0, float(sizes.max())))
    image: ScalarMappable
    if len(x) > POINTS:
        image = ax.hexbin(x, y, C=sizes, gridsize=60, cmap=DENSITY, norm=norm, linewidths=0.1, rasterized=True)
    else:
        image = ax.scatter(x, y, c=sizes, s=14, cmap=DENSITY, norm=norm, linewidths=0, rasterized=len(x) > 300)
    bar = ax.figure.colorbar(image, ax=ax, label="documents in the group")
    ticks = [2.0**n for n in range(1, 1 + int(np.log2(norm.vmax or 4.0)))]
    bar.set_ticks(ticks, labels=[f"{int(tick):,}" for tick in ticks])
    bar.minorticks_off()


def _performance(scores: "pd.DataFrame", measure: str) -> Floats:
    if f"mean_{measure}" in scores:
        return scores[f"mean_{measure}"].to_numpy(dtype=np.float64)
    names = ("n_in", "n_out", f"{measure}_in", f"{measure}_out")
    inside, outside, of_in, of_out = (scores[name].to_numpy(dtype=np.float64) for name in names)
    total = inside + outside
    mean: Floats = np.divide(inside * of_in + outside * of_out, total, out=np.full(len(total), np.nan), where=total > 0)
    return mean


def _phantoms(controls: "pd.DataFrame") -> "pd.DataFrame":
    return controls[controls["kind"] == "phantom"] if "kind" in controls else controls


def _finite(values: "pd.Series[float]") -> Floats:
    found: Floats = np.asarray(values, dtype=np.float64)
    return found[np.isfinite(found)]


def _edges(values: Floats) -> list[float]:
    """Equal bins, between 8 and BINS of them, about as wide as Freedman and Diaconis say."""
    low, high = np.percentile(values, [25, 75])
    width = 2 * (high - low) / len(values) ** (1 / 3)
    # Not numpy's own "fd": one far outlier makes it ask for more bins than there is memory.
    wanted = int(np.ceil(min(float(BINS), np.ptp(values) / width))) if width > 0 else 8
    return [float(edge) for edge in np.histogram_bin_edges(values, max(8, wanted))]
