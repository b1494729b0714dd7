"""Tables on the terminal, for scripts and for spreadsheets."""

import contextlib
import csv
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from memo.text import for_csv, for_terminal

if TYPE_CHECKING:
    import pandas as pd

    from memo.campaign import Campaign

TEXT_WIDTH = 48
SHORTEST_TEXT = 8


def print_json(data: Any) -> None:
    """JSON on stdout; NaN and infinity, which JSON does not have, become null."""
    with _readers_may_leave():
        json.dump(_finite(data), sys.stdout, indent=1, ensure_ascii=True, allow_nan=False)
        sys.stdout.write("\n")


@contextlib.contextmanager
def _readers_may_leave() -> Iterator[None]:
    """`memo scores DIR --csv | head -1` is no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows as plain data; missing text is None."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def print_csv(frame: "pd.DataFrame") -> None:
    """CSV on stdout, without cells that a spreadsheet would run."""
    with _readers_may_leave():
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(frame.columns)
        for row in records(frame):
            out.writerow(["" if value is None else for_csv(value) for value in row.values()])


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table that fits the terminal, or plain columns where there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size((120, 24)).columns
    widths = [
        max(len(column), *(len(row[i]) for row in rows)) if rows else len(column) for i, column in enumerate(columns)
    ]
    if sum(widths[:-1]) + 3 * len(columns) + SHORTEST_TEXT > width:
        columns, rows = columns[:-1], [row[:-1] for row in rows]  # the numbers matter more than the text
    table = Table(title=Text(title), box=box.SIMPLE, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows) and bool(rows)
        last = index == len(columns) - 1
        justify: Any = "right" if numeric else "left"
        table.add_column(
            column, justify=justify, min_width=None if last else widths[index], no_wrap=True, overflow="ellipsis"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: brackets in a document are not markup
    with _readers_may_leave():
        Console(width=width).print(table)


def _is_number(cell: str) -> bool:
    return not any(character.isalpha() for character in cell)


def interval(row: dict[str, Any]) -> str:
    """`1.23 [0.98, 1.48]`, or a dash where there is no score."""
    if row["memorization"] is None or math.isnan(row["memorization"]):
        return "-"
    if row["ci_low"] is None or math.isnan(row["ci_low"]):
        return f"{row['memorization']:.2f}"
    return f"{row['memorization']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"


def sides(inside: int, outside: int) -> str:
    """How many splits or losses are on either side: `24/24`."""
    return f"{inside}/{outside}"


def _group(row: dict[str, Any]) -> str:
    """The size of a group and the beginning of its label."""
    return (
        str(row["group_size"]) if row["group_size"] == 1 else f"{row['group_size']} {for_terminal(row['group_id'], 12)}"
    )


def number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


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
            for_terminal(text if isinstance(text := texts[row["doc_id"]], str) else "", TEXT_WIDTH),
        )
        for row in records(frame)
    ]
    print_table(title, ("document", "memorization [95 %]", "loss in", "out", "n", "group", "text"), rows)
    for reason, count in frame.loc[frame["memorization"].isna(), "reason"].value_counts().items():
        print(f"{count} of these rows have no score: {reason}")


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
