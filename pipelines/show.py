"""Results for people, for scripts and for spreadsheets: tables on the terminal, JSON, CSV."""

import csv
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from memo import in_words
from memo.in_words import number, sides
from memo.plain import finite, records
from memo.text import for_csv, for_terminal
from pipelines.terminal import console, print_table, readers_may_leave, width

if TYPE_CHECKING:
    import pandas as pd

    from memo.campaign import Campaign

__all__ = ["console", "interval", "number", "print_csv", "print_json", "print_table", "records", "sides"]


def print_json(data: Any) -> None:
    """JSON on stdout; NaN and infinity, which JSON does not have, become null."""
    with readers_may_leave():
        json.dump(finite(data), sys.stdout, indent=1, ensure_ascii=True, allow_nan=False)
        sys.stdout.write("\n")


def print_csv(frame: "pd.DataFrame") -> None:
    """CSV on stdout, without cells that a spreadsheet would run."""
    with readers_may_leave():
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(frame.columns)
        for row in records(frame):
            out.writerow(["" if value is None else for_csv(value) for value in row.values()])


def interval(row: Mapping[str, Any], of: str = "memorization") -> str:
    """`1.23 [0.98, 1.48]`, or a dash where there is no score."""
    return in_words.interval(row[of], row["ci_low"], row["ci_high"])


def _group(row: dict[str, Any]) -> str:
    """The size of a group and the beginning of its label."""
    return (
        str(row["group_size"]) if row["group_size"] == 1 else f"{row['group_size']} {for_terminal(row['group_id'], 12)}"
    )


def print_scores(campaign: "Campaign", frame: "pd.DataFrame", title: str) -> None:
    """Scores with the beginning of each document."""
    texts = campaign.documents().set_index("doc_id")["text"]
    rows = [
        (
            for_terminal(row["doc_id"], 36),
            interval(row),
            number(row["loss_in"]),
            number(row["loss_out"]),
            sides(row["n_in"], row["n_out"]),
            _group(row),
            for_terminal(text if isinstance(text := texts[row["doc_id"]], str) else "", width()),
        )
        for row in records(frame)
    ]
    print_table(title, ("document", "memorization [95 %]", "loss in", "out", "n", "group", "text"), rows)
    for reason, count in frame.loc[frame["memorization"].isna(), "reason"].value_counts().items():
        print(f"without a score, {count:,} of these rows: {for_terminal(str(reason).removesuffix(': no score'))}")


def print_siblings(frame: "pd.DataFrame", rule: str, as_json: bool, as_csv: bool) -> None:
    """The document score by the number of other members of its group in the split."""
    if as_json:
        print_json(records(frame))
    elif as_csv:
        print_csv(frame)
    else:
        rows = [
            (
                str(r["siblings"]),
                interval(r),
                str(r["documents"]),
                str(r["groups"]),
                f"{r['losses_in']}/{r['losses_out']}",
            )
            for r in records(frame)
        ]
        columns = ("siblings in the split", "memorization [95 %]", "documents", "groups", "losses in/out")
        print_table(f"One document of a group of rule {rule}, nats per token, out - in", columns, rows)
