"""The spectrum on the terminal: per rule for the corpus, or one document under every rule."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from memo.spectrum import corpus_spectrum
from memo.spectrum_controls import FalseCalls, false_calls_in_words
from memo.text import for_terminal
from pipelines.show import interval, number, print_csv, print_json, print_table, records, sides

if TYPE_CHECKING:
    import pandas as pd


def print_spectrum(
    entries: "pd.DataFrame",
    margin: float,
    document: str | None,
    as_json: bool,
    as_csv: bool,
    controls: FalseCalls | None = None,
) -> None:
    """As JSON: `rules` (one a rule), `verdicts` (how many of each), `controls` (phantoms called memorized) and
    `entries` (one a document and set)."""
    summary = corpus_spectrum(entries)
    if as_csv:
        print_csv(entries)
        return
    verdicts = {"memorized": int(summary["memorized"].sum()), **summary.attrs}
    if as_json:
        told = {"margin": margin, "verdicts": verdicts, "controls": None if controls is None else asdict(controls)}
        print_json({**told, "rules": records(summary), "entries": records(entries)})
        return
    if document is not None:
        _print_document(entries, document)
        return
    rows = [
        (
            for_terminal(row["rule"], 32),
            f"{row['documents']:,}",
            f"{row['sets']:,}",
            _share(row["removed_share"]),
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
    said = None if controls is None else false_calls_in_words(controls)
    if said:
        print(said)


def _print_document(entries: "pd.DataFrame", document: str) -> None:
    rows = [
        (
            for_terminal(row["rule"], 24),
            interval(row, "gap"),
            number(row["total"]),
            number(row["rest"]),
            _share(row["removed_share"]),
            f"{row['bits']:.0f}",
            sides(row["n_in"], row["n_out"]),
            f"{row['group_size']} {for_terminal(row['group_id'], 24)}",
        )
        for row in records(entries)
    ]
    columns = ("rule", "gap [corrected]", "total", "rest", "removed", "bits", "n", "set")
    print_table(f"{for_terminal(document, 60)}: nats per token, finest rule first", columns, rows)
    silent = [for_terminal(row["rule"], 32) for row in records(entries) if row["gap"] is None]
    if silent:
        print(f"no gap at {', '.join(silent)}: `memo show` says why")
    first = records(entries)[0]
    where = f" at rule {for_terminal(first['verdict_rule'], 32)}" if first["verdict_rule"] else ""
    print(f"verdict: {first['verdict']}{where}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"  # an import may not know its tokens
