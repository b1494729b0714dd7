"""What the figures share: colours, labels of untrusted text, points that become a density."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memo.text import for_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# M. Okabe and K. Ito, Color Universal Design (2008).
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":")
GREY = "#7f7f7f"  # stands out from white and from black
DENSITY = "viridis"
NATS = "nats per token"
POINTS = 3_000  # more are shown as a density
LABEL_COLUMNS = 40

Floats = NDArray[np.float64]


def label(text: object, columns: int = LABEL_COLUMNS) -> str:
    """Text of a corpus as one line of characters that the font has; others as `\\u8a9e`. Give it `parse_math=False`."""
    return for_plot(str(text), _glyphs(), columns)


def _glyphs() -> Collection[int]:
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return font.get_charmap()


def nothing(ax: "Axes", why: str) -> "Axes":
    """Says in the middle of the axes why they are empty."""
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY, parse_math=False)
    return ax


def tick_labels(ax: "Axes", axis: str, places: Any, names: list[str]) -> None:
    """Names that may hold anything, at these places of the axis."""
    getattr(ax, f"set_{axis}ticks")(places, names)
    for text in getattr(ax, f"get_{axis}ticklabels")():
        text.set_parse_math(False)


def points(ax: "Axes", x: Floats, y: Floats, name: str, gridsize: int = 60) -> None:
    """A point each; many of them as hexagons whose colour says how many, on a logarithmic scale."""
    if len(x) <= POINTS:
        ax.scatter(x, y, s=14, color=BLUE, alpha=0.5, linewidths=0, rasterized=len(x) > 300)
        return
    image = ax.hexbin(x, y, gridsize=gridsize, bins="log", cmap=DENSITY, mincnt=1, linewidths=0.1, rasterized=True)
    ax.figure.colorbar(image, ax=ax, label=f"{name} per hexagon")


def both(first: Any, second: Any) -> tuple[Floats, Floats]:
    """Where both are numbers."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    kept = np.isfinite(x) & np.isfinite(y)
    return x[kept], y[kept]


def legend(ax: "Axes", **settings: Any) -> None:
    """A legend whose text is not taken for a formula."""
    for text in ax.legend(frameon=False, fontsize="small", **settings).get_texts():
        text.set_parse_math(False)
