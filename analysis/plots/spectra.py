"""The spectrum from memorization to generalization: one document under every rule, and all documents by rule."""

from typing import TYPE_CHECKING

import numpy as np

from analysis.plots.style import BLUE, GREEN, GREY, NATS, ORANGE, VERMILION, label, legend, nothing, tick_labels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SETS = 24  # of one document; a document in more sets has the finest ones shown


def document_spectrum(entries: "pd.DataFrame", ax: "Axes", margin: float | None = None) -> "Axes":
    """The gap of one document under each rule, the finest above, with its corrected interval.

    entries: the rows of one document of `campaign.spectrum()`. margin: the nats above which a gap counts as memorized;
    by default what the spectrum was made with.
    """
    ax.set(xlabel=f"loss gap when the set is removed, {NATS}")
    shown = entries[np.isfinite(entries["gap"].to_numpy(dtype=np.float64))].head(SETS)
    if shown.empty:
        return nothing(ax, "no rule has a gap for this document")
    margin = entries.attrs.get("margin") if margin is None else margin
    gaps, low, high = (shown[name].to_numpy(dtype=np.float64) for name in ("gap", "ci_low", "ci_high"))
    above = np.isfinite(low) & (low > (0.0 if margin is None else margin))
    for place, (gap, least, most, sure) in enumerate(zip(gaps, low, high, above, strict=True)):
        ends = None if np.isnan(least) else [[gap - least], [most - gap]]
        colour, face = (VERMILION, VERMILION) if sure else (BLUE, "none")
        ax.errorbar(gap, place, xerr=ends, fmt="o", color=colour, markerfacecolor=face, capsize=3)
    names = [_name(row) for row in shown.to_dict("records")]
    tick_labels(ax, "y", np.arange(len(shown)), names)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.axvline(0, color=GREY, lw=1, ls=":")
    if margin is not None:
        ax.axvline(margin, color=GREY, lw=1, ls="--", label=f"margin, {margin:g}; filled: surely above it")
        legend(ax)
    ax.set_title(_verdict(shown), fontsize="medium", parse_math=False)
    return ax


def _name(row: dict[str, object]) -> str:
    size = "" if row["rule"] == "document" else f"\n{row['group_size']:,} documents"
    return f"{label(row['rule'], 24)}{size}\n{row['removed_share']:.2%} removed"


def _verdict(entries: "pd.DataFrame") -> str:
    first = entries.iloc[0]
    at = f" at {label(first['verdict_rule'], 24)}" if isinstance(first["verdict_rule"], str) else ""
    return f"{label(first['doc_id'])}: {first['verdict']}{at}"


def corpus_spectrum(summary: "pd.DataFrame", ax: "Axes") -> "Axes":
    """How many documents are memorized at each rule, the finest above, then how many generalize or stay undecided.

    summary: of `memo.spectrum.corpus_spectrum`.
    """
    ax.set(xlabel="documents")
    if summary.empty:
        return nothing(ax, "no rule has groups")
    names = [f"memorized at {label(rule, 24)}" for rule in summary["rule"]]
    counts = summary["memorized"].astype(int).tolist()
    others = [name for name in ("generalizes", "undecided") if name in summary.attrs]
    names += others
    counts += [int(summary.attrs[name]) for name in others]
    kinds = ["memorized"] * len(summary) + others
    looks = {"memorized": (VERMILION, ""), "generalizes": (GREEN, "///"), "undecided": (ORANGE, "...")}
    for place, (count, kind) in enumerate(zip(counts, kinds, strict=True)):
        colour, hatch = looks[kind]
        ax.barh(place, count, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
        # An offset and no space: a browser strips the space from the text of an SVG.
        ax.annotate(f"{count:,}", (count, place), (4, 0), textcoords="offset points", va="center", fontsize="small")
    tick_labels(ax, "y", np.arange(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1.15 * max(1, *counts))
    return ax
