"""Figures of any frame: as it should be, with gaps, empty, of one row, of a hundred thousand; labels are text alone."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.text import Text

import memo
from analysis import plots
from memo.spectrum import corpus_spectrum
from memo.tables import COLUMNS

from ..conftest import HOSTILE

LARGE = 100_000


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def score_table(rows: int, rule: str = "document", seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({name: rng.random(rows) for name in COLUMNS})
    size = np.minimum(1 + rng.geometric(0.4, rows), 64) if rule != "document" else 1
    labels = {"doc_id": [f"d{i}" for i in range(rows)], "rule": rule, "group_size": size, "reason": None}
    table = table.assign(**labels, group_id=[f"g{i}" for i in range(rows)], n_in=8, n_out=8)
    return table.assign(memorization=rng.lognormal(0, 0.5, rows) - 0.5)


def entries_of(rows: int) -> pd.DataFrame:
    gap = np.linspace(0, 2, rows)
    frame = pd.DataFrame({"doc_id": "d0", "rule": [f"rule{i}" for i in range(rows)], "gap": gap, "ci_low": gap - 0.3})
    frame = frame.assign(ci_high=gap + 0.3, group_size=3, removed_share=0.01, bits=8.0, nesting=range(rows))
    frame = frame.assign(group_id="g", verdict="memorized", verdict_rule="rule1")
    frame.attrs["margin"] = 0.5
    return frame


def agreement(rows: int, mean: float | None = 0.5) -> dict[str, Any]:
    found = [{"models": 8 * (n + 1), "mean": mean, "sd": 0.1} for n in range(rows)]
    return {"agreement": found, "models": 48, "target": 0.9}


def logs_of(rows: int) -> pd.DataFrame:
    split = np.arange(rows) // 10
    step = 1 + np.arange(rows) % 10
    return pd.DataFrame({"split": split, "step": step, "steps": 10, "loss": 5.0 - 0.3 * step})


def epochs_of(rows: int) -> pd.DataFrame:
    epoch = np.arange(1, rows + 1)
    frame = pd.DataFrame({"epoch": epoch, "loss_in": 5.0 / epoch, "loss_out": 5.0, "memorization": 5.0 - 5.0 / epoch})
    return frame.assign(p10=frame["memorization"] - 0.2, p90=frame["memorization"] + 0.4)


def paired(rows: int, ax: Axes) -> Axes:
    return plots.single_and_group(score_table(rows), score_table(rows, "near", 1), ax)


DRAWN: dict[str, Callable[[int, Axes], Axes]] = {
    "scores": lambda n, ax: plots.scores(score_table(n), ax, score_table(max(n // 10, 1)).assign(kind="phantom")),
    "simplicity": lambda n, ax: plots.simplicity(score_table(n), ax),
    "simplicity_loss": lambda n, ax: plots.simplicity(score_table(n), ax, "loss"),
    "group_size": lambda n, ax: plots.group_size(score_table(n, "near"), ax),
    "single_and_group": paired,
    "document_spectrum": lambda n, ax: plots.document_spectrum(entries_of(n), ax),
    "corpus_spectrum": lambda n, ax: plots.corpus_spectrum(corpus_spectrum(entries_of(min(n, 50))), ax),
    "by_epoch": lambda n, ax: plots.by_epoch(epochs_of(min(n, 1000)), ax),
    "reliability": lambda n, ax: plots.reliability({"rules": {"document": agreement(min(n, 4))}}, ax),
    "training_curves": lambda n, ax: plots.training_curves(logs_of(n), ax),
}


def drawn(ax: Axes, form: str = "png") -> bytes:
    out = io.BytesIO()
    ax.figure.savefig(out, format=form)
    return out.getvalue()


def texts(ax: Axes) -> list[Text]:
    return [text for text in ax.figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("rows", [0, 1, 2, 40])
def test_any_number_of_rows(name: str, rows: int, ax: Axes) -> None:
    assert DRAWN[name](rows, ax) is ax
    assert drawn(ax)
    assert ax.get_xlabel() and (ax.get_ylabel() or len(ax.get_yticklabels()))


@pytest.mark.parametrize("name", DRAWN)
def test_a_hundred_thousand_rows(name: str, ax: Axes) -> None:
    DRAWN[name](LARGE, ax)
    started = time.process_time()
    assert len(drawn(ax, "svg")) < 1_500_000  # points are pixels or hexagons, not a mark each
    assert time.process_time() - started < 20


def test_units_are_on_the_axes(ax: Axes) -> None:
    for name, draw in DRAWN.items():
        ax.clear()
        draw(40, ax)
        told = f"{ax.get_xlabel()} {ax.get_ylabel()}"
        assert any(unit in told for unit in ("nats", "share", "documents", "models")), name


def test_values_that_are_missing_are_left_out(ax: Axes) -> None:
    table = score_table(50)
    table.loc[::2, ["memorization", "memorization_accuracy", "accuracy_in"]] = np.nan
    for draw in (plots.scores, plots.simplicity, plots.group_size):
        draw(table, ax)
    assert drawn(ax)
    for draw in (plots.scores, plots.simplicity, plots.group_size):
        ax.clear()
        draw(table.assign(memorization=np.nan, memorization_accuracy=np.nan), ax)
        assert any("no document has a score" in text.get_text() for text in texts(ax))


def test_simplicity_falls_back_to_losses(ax: Axes) -> None:
    unknown = dict.fromkeys(("accuracy_in", "accuracy_out", "memorization_accuracy"), np.nan)
    plots.simplicity(score_table(20).assign(**unknown), ax)
    assert "loss" in ax.get_ylabel() and ax.yaxis_inverted() and len(ax.collections[0].get_offsets()) == 20


def test_simplicity_is_the_mean_over_all_models(ax: Axes) -> None:
    table = score_table(1).assign(accuracy_in=0.9, accuracy_out=0.3, n_in=30, n_out=10, memorization_accuracy=0.6)
    assert plots.simplicity(table, ax).collections[0].get_offsets().tolist() == [[0.6, 0.75]]
    ax.clear()
    table["mean_accuracy"] = 0.5
    assert plots.simplicity(table, ax).collections[0].get_offsets().tolist() == [[0.6, 0.5]]


def test_scores_are_counted_without_canaries(ax: Axes) -> None:
    controls = pd.DataFrame({"kind": ["phantom"] * 3 + ["canary"] * 4, "memorization": [0.0, 0.1, 0.2, 5, 5, 5, 5]})
    plots.scores(score_table(20), ax, controls)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]  # type: ignore[union-attr]
    assert any(line.startswith("3 phantoms") for line in legend) and "20 documents" in legend
    assert ax.get_ylim()[1] > 1.2 * max(bar.get_height() for bar in ax.patches if isinstance(bar, Rectangle))


def test_one_far_outlier_takes_no_more_bins(ax: Axes) -> None:
    table = score_table(1000)
    table.loc[0, "memorization"] = 1e12  # as of an imported model that diverged
    plots.scores(table, ax)
    assert 8 <= len(ax.patches) <= 60


def test_one_document_with_nothing_measured(ax: Axes) -> None:
    plots.document_spectrum(entries_of(3).assign(gap=np.nan), ax)
    assert any("no rule has a gap" in text.get_text() for text in texts(ax))
    ax.clear()
    plots.reliability(agreement(0), ax)
    assert any("too few models" in text.get_text() for text in texts(ax))
    ax.clear()
    plots.reliability(agreement(3, None), ax)
    assert drawn(ax)


def test_the_margin_decides_what_is_filled(ax: Axes) -> None:
    plots.document_spectrum(entries_of(3), ax)  # gaps 0, 1, 2 with intervals of 0.3
    faces = [line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"]
    assert faces[0] == "none" and faces[1] == faces[2] != "none"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_of_the_corpus_is_never_a_formula(text: str, ax: Axes) -> None:
    for hostile in (text, f"$\\frac{{1{text[:20]}$"):
        ax.clear()
        entries = entries_of(3).assign(doc_id=hostile, rule=hostile, verdict_rule=hostile)
        plots.document_spectrum(entries, ax)
        group = score_table(5, "near", 1).assign(rule=hostile)
        drawn(plots.corpus_spectrum(corpus_spectrum(entries), ax), "svg")
        plots.single_and_group(score_table(5), group, ax)
        plots.reliability({"rules": {hostile: agreement(3)}}, ax)
        assert drawn(ax)  # a font without the character would warn
        for shown in texts(ax):
            assert shown.get_text().replace("\n", "").isprintable()


def test_of_a_real_campaign(small_campaign: Path, ax: Axes) -> None:
    campaign = memo.open(small_campaign)
    single, group = campaign.scores(), campaign.scores("near")
    plots.scores(group, ax, campaign.controls())
    plots.simplicity(single.merge(campaign.simplicity(), on="doc_id"), ax)
    plots.group_size(group, ax)
    plots.single_and_group(single, group, ax)
    spectrum = campaign.spectrum()
    plots.document_spectrum(spectrum[spectrum["doc_id"] == campaign.doc_ids[0]], ax)
    plots.corpus_spectrum(corpus_spectrum(spectrum), ax)
    plots.by_epoch(campaign.by_epoch("near"), ax)
    plots.reliability(campaign.diagnostics(), ax)
    plots.training_curves(campaign.training_log(), ax)
    assert drawn(ax)
