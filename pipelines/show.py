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

from memo.text import for_csv, for_terminal, paragraphs_for_terminal

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


def print_document(campaign: "Campaign", doc_id: str) -> None:
    """One document: its text, its scores under every rule, its loss by epoch."""
    data = document(campaign, doc_id)
    shown = {key: value for key, value in data["metadata"].items() if value is not None}
    known = data["n_tokens"] is not None
    print(f"{for_terminal(doc_id)}   {data['n_tokens'] if known else 'an unknown number of'} tokens")
    for key, value in shown.items():
        print(f"  {for_terminal(key)}: {for_terminal(value)}")
    print(f"\n{paragraphs_for_terminal(data['text'] or '(its text is not known)')}\n")
    rows = [
        (
            row["rule"],
            interval(row),
            number(row["loss_in"]),
            number(row["loss_out"]),
            sides(row["n_in"], row["n_out"]),
            f"{row['group_size']} {for_terminal(row['group_id'], 24)}",
            row["reason"] or "",
        )
        for row in data["scores"]
    ]
    print_table("Scores, nats per token", ("rule", "memorization [95 %]", "in", "out", "n", "group", "note"), rows)
    epochs = [
        (str(e["epoch"]), number(e["loss_in"]), number(e["loss_out"]), number(e["gap"])) for e in data["by_epoch"]
    ]
    print_table(
        "Mean loss by epoch, over the splits with and without the document", ("epoch", "in", "out", "out - in"), epochs
    )


def document(campaign: "Campaign", doc_id: str) -> dict[str, Any]:
    """All that is known of one document, as plain data. Raises `UsageError` for an unknown id."""
    import difflib

    from memo.errors import UsageError

    if doc_id not in campaign.doc_ids:
        close = difflib.get_close_matches(doc_id, campaign.doc_ids, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"no document has the id {doc_id!r}{hint}")
    position = campaign.doc_ids.index(doc_id)
    row = records(campaign.documents().iloc[[position]])[0]
    tables = [campaign.scores(rule) for rule in campaign.rules()]
    scores = [score for table in tables for score in records(table[table["doc_id"] == doc_id])]
    members = {rule: _members(campaign, rule, doc_id) for rule in campaign.rules()[1:]}
    return {
        "doc_id": doc_id,
        "text": row.pop("text"),
        "n_tokens": int(tokens) if (tokens := row.pop("n_tokens")) is not None else None,
        "metadata": {key: value for key, value in row.items() if key != "doc_id"},
        "scores": scores,
        "groups": members,
        "by_epoch": _by_epoch(campaign, position),
    }


def _members(campaign: "Campaign", rule: str, doc_id: str) -> list[str]:
    """All documents that share a group with this one, itself included."""
    groups = campaign.groups(rule)
    mine = groups.loc[groups["doc_id"] == doc_id, "group_id"]
    return groups.loc[groups["group_id"].isin(mine), "doc_id"].tolist()


def _by_epoch(campaign: "Campaign", position: int) -> list[dict[str, float]]:
    import numpy as np

    included = campaign.included()[:, position]
    result = []
    for evaluation, epoch in enumerate(campaign.config.training.evaluations):
        losses = campaign.losses(evaluation)[:, position].astype(np.float64)
        means = [float(losses[side].mean()) if side.any() else math.nan for side in (included, ~included)]
        result.append({"epoch": epoch, "loss_in": means[0], "loss_out": means[1], "gap": means[1] - means[0]})
    return result
