"""The spectrum on the terminal: per rule for the corpus, or one document under every rule."""

from typing import TYPE_CHECKING

from memo.spectrum import corpus_spectrum
from memo.text import for_terminal
from pipelines.show import number, print_csv, print_json, print_table, records, sides

if TYPE_CHECKING:
    import pandas as pd


def print_spectrum(entries: "pd.DataFrame", margin: float, document: str | None, as_json: bool, as_csv: bool) -> None:
    """As JSON: `rules` (one a rule), `verdicts` (how many of each) and `entries` (one a document and set)."""
    summary = corpus_spectrum(entries)
    if as_csv:
        print_csv(entries)
        return
    verdicts = {"memorized": int(summary["memorized"].sum()), **summary.attrs}
    if as_json:
        print_json({"margin": margin, "verdicts": verdicts, "rules": records(summary), "entries": records(entries)})
        return
    if document is not None:
        _print_document(entries, document)
        return
    rows = [
        (
            for_terminal(row["rule"], 32),
            f"{row['documents']:,}",
            f"{row['sets']:,}",
            f"{row['removed_share']:.2%}",
            f"{row['bits']:.0f}",
            number(row["median_gap"]),
            f"{row['memorized']:,}",
        )
        for row in records(summary)
    ]
    columns = ("rule, finest first", "documents", "sets", "removed", "bits", "median gap", "memorized there")
    print_table(f"Documents memorized at each rule: gaps above {margin:g} nats per token", columns, rows)
    print(
        f"{verdicts['memorized']:,} documents memorized, {verdicts['generalizes']:,} generalize (every gap below "
        f"{margin:g}), {verdicts['undecided']:,} undecided"
    )


def _print_document(entries: "pd.DataFrame", document: str) -> None:
    rows = [
        (
            for_terminal(row["rule"], 24),
            _gap(row["gap"], row["ci_low"], row["ci_high"]),
            number(row["total"]),
            number(row["rest"]),
            f"{row['removed_share']:.2%}",
            f"{row['bits']:.0f}",
            sides(row["n_in"], row["n_out"]),
            f"{row['group_size']} {for_terminal(row['group_id'], 24)}",
        )
        for row in records(entries)
    ]
    columns = ("rule", "gap [corrected]", "total", "rest", "removed", "bits", "n", "set")
    print_table(f"{for_terminal(document, 60)}: nats per token, finest rule first", columns, rows)
    first = records(entries)[0]
    where = f" at rule {for_terminal(first['verdict_rule'], 32)}" if first["verdict_rule"] else ""
    print(f"verdict: {first['verdict']}{where}")


def _gap(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return number(value) if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
