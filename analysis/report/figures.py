"""The figures of the page, as SVG in its own markup: they take its colours, in light and dark, and need no request.

matplotlib writes style attributes, which the page's Content-Security-Policy forbids; they become attributes of SVG.
What is black becomes the colour of the text. The same campaign gives the same bytes.
"""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import plots
from memo.design_settings import DOCUMENT_RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

    from analysis.report.rows import RuleScores

SIZE_INCHES = (5.6, 4.0)
STYLE: Any = {"svg.fonttype": "none", "savefig.transparent": True, "font.size": 10.0, "axes.labelsize": 9.0}
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
BLACK = re.compile(r"#000000|black", re.IGNORECASE)
KEPT_STYLES = frozenset(
    {
        *("fill", "fill-opacity", "fill-rule", "opacity", "stroke", "stroke-dasharray", "stroke-dashoffset"),
        *("stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-width", "font-size"),
        *("font-style", "font-weight", "text-anchor", "image-rendering"),
    }
)
FONT = re.compile(r"(?:(?P<style>italic|oblique)\s+)?(?:(?P<weight>bold|\d{3})\s+)?(?P<size>[\d.]+(?:px|pt)?)\s+.*")


@dataclass(frozen=True)
class Figure:
    """One figure: what it shows, in a title and a sentence, and its SVG."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Sources:
    """The frames that figures are drawn from."""

    scores: "list[RuleScores]"
    controls: pd.DataFrame | None
    by_epoch: pd.DataFrame | None
    logs: pd.DataFrame | None


def draw(name: str, title: str, caption: str, plot: "Callable[[Axes], Any]") -> Figure:
    """Draws one figure without a display; the axes are those that `plot` fills."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own settings are, the page is the same
        mpl.rcParams.update({**STYLE, "svg.hashsalt": name})
        figure: MatplotlibFigure = Canvas(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        plot(axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.patch.set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, dpi=110)
    return Figure(name, title, caption, for_page(buffer.getvalue(), title, name))


def for_page(svg: bytes, title: str, name: str) -> str:
    """The SVG as part of an HTML page: attributes for styles, text colour for black, a title for screen readers."""
    root = ElementTree.fromstring(svg)  # noqa: S314  matplotlib wrote it
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _plain(element)
    for gone in ("width", "height", "version"):
        root.attrib.pop(gone, None)
    root.set("role", "img")
    root.set("aria-label", title)
    root.set("class", "figure")
    root.set("id", f"figure-{name}")
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _plain(element: ElementTree.Element) -> None:
    if element.tag == f"{{{SVG}}}g":
        element.attrib.pop("id", None)  # axes_1 would stand in every figure
    for name, value in _styles(element.attrib.pop("style", "")):
        element.set(name, value)
    for name in ("fill", "stroke"):
        if name in element.attrib:
            element.set(name, BLACK.sub("currentColor", element.attrib[name]))
    if element.tag == f"{{{SVG}}}text" and "fill" not in element.attrib:
        element.set("fill", "currentColor")
    shape = element.tag in (f"{{{SVG}}}path", f"{{{SVG}}}use")
    if shape and "stroke-linejoin" not in element.attrib:
        element.set("stroke-linejoin", "round")


def _styles(style: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, (part.strip() for part in style.split(";"))):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name == "font" and (found := FONT.fullmatch(value)):
            yield "font-size", found["size"]
            for key in ("style", "weight"):
                if found[key]:
                    yield f"font-{key}", found[key]
        elif name in KEPT_STYLES:
            yield name, value


def all_figures(sources: Sources) -> list[Figure]:
    """Those that the campaign has anything for, in the order of the page."""
    scored = [s for s in sources.scores if s.frame["memorization"].notna().any()]
    shown = next((s for s in scored if s.name == DOCUMENT_RULE), scored[0] if scored else sources.scores[0])
    return [*_of_documents(shown, sources.controls), *_of_groups(sources.scores), *_of_training(sources, shown.name)]


def _of_documents(shown: "RuleScores", controls: pd.DataFrame | None) -> Iterator[Figure]:
    yield draw(
        "scores",
        f"Scores under the rule {shown.name}",
        "How many documents have which score, with the phantoms, which no model saw, as the null beside them.",
        lambda ax: plots.scores(shown.frame, ax, phantoms=controls),
    )
    yield draw(
        "simplicity",
        "Score and simplicity",
        "Simplicity is the mean performance of all models, whether they trained on the document or not.",
        lambda ax: plots.simplicity(shown.frame, ax),
    )


def _of_groups(scores: "list[RuleScores]") -> Iterator[Figure]:
    """By the coarsest rule that has groups of two or more."""
    grouped = [s for s in scores[1:] if s.measure == "memorization" and (s.frame["group_size"] > 1).any()]
    if not grouped:
        return
    single, coarsest = scores[0].frame, grouped[-1]
    yield draw(
        "single-and-group",
        f"A document alone, and its group by {coarsest.name}",
        "Above the line: the text is memorized although no single copy matters.",
        lambda ax: plots.single_and_group(single, coarsest.frame, ax),
    )
    yield draw(
        "group-size",
        f"Score and size of the group, by {coarsest.name}",
        "Groups are kept or left out together.",
        lambda ax: plots.group_size(coarsest.frame, ax),
    )


def _of_training(sources: Sources, rule: str) -> Iterator[Figure]:
    by_epoch, logs = sources.by_epoch, sources.logs
    if by_epoch is not None and len(by_epoch) > 1:
        yield draw(
            "by-epoch",
            "Losses and score by epoch",
            f"Means over documents under the rule {rule}, after each epoch that was evaluated.",
            lambda ax: plots.by_epoch(by_epoch, ax),
        )
    if logs is not None and len(logs):
        yield draw(
            "training",
            "Training curves",
            "Training loss of the models as their logs tell it, about a line a second.",
            lambda ax: plots.training_curves(logs, ax),
        )


def reliability_figure(diagnostics: dict[str, Any]) -> Figure:
    return draw(
        "reliability",
        "Reliability and number of models",
        "How alike two campaigns of so many models would rank the documents: measured on halves, and predicted beyond.",
        lambda ax: plots.reliability(diagnostics, ax),
    )


def spectrum_figure(summary: pd.DataFrame) -> Figure:
    return draw(
        "spectrum",
        "Documents by verdict",
        "At which rule, the finest first, documents are memorized; how many generalize, and how many are undecided.",
        lambda ax: plots.corpus_spectrum(summary, ax),
    )
