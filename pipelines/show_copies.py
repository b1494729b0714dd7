"""Scores by number of copies: the curve on the terminal, every document for scripts."""

from typing import TYPE_CHECKING

from memo.copies import dose_curve_of
from pipelines.show import interval, number, print_csv, print_json, print_table, records

if TYPE_CHECKING:
    import pandas as pd


def print_copies(scores: "pd.DataFrame", as_json: bool, as_csv: bool) -> None:
    """scores: of `Campaign.copies_scores`. As JSON: `curve` (one a number of copies) and `documents` (one a document
    and number); as CSV the latter alone."""
    if as_csv:
        print_csv(scores)
        return
    curve = dose_curve_of(scores)
    if as_json:
        print_json({"curve": records(curve), "documents": records(scores)})
        return
    losses = scores.groupby("copies")[["loss_in", "loss_out"]].mean()
    rows = [
        (
            str(row["copies"]),
            interval(row),
            number(losses.loc[row["copies"], "loss_in"]),
            number(losses.loc[row["copies"], "loss_out"]),
            f"{row['documents']:,}",
            _splits(scores, row["copies"]),
        )
        for row in records(curve)
    ]
    columns = ("copies", "memorization [95 %]", "loss in", "out", "documents", "n in/out")
    print_table("Mean score of the copied documents, nats per token, against no copy", columns, rows)


def _splits(scores: "pd.DataFrame", copies: int) -> str:
    """How many splits are on either side; from the fewest to the most where documents differ."""
    part = scores[scores["copies"] == copies]
    return "/".join(_span(int(part[name].min()), int(part[name].max())) for name in ("n_in", "n_out"))


def _span(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}-{most}"
