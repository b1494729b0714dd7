"""One document on the terminal: its text, its scores under every rule, its tokens, its groups, its loss by epoch."""

from typing import TYPE_CHECKING, Any

from memo.document import document_data
from memo.shown_document import in_context
from memo.text import for_terminal, paragraphs_for_terminal
from memo.token_runs import SHADES, pieces
from pipelines.show import console, interval, number, print_table, sides

if TYPE_CHECKING:
    from rich.text import Text

    from memo.campaign import Campaign

TOKENS = 12  # the most memorized ones are listed
MEMBERS = 5  # of a group that are named
CHARACTERS = 20_000  # of a text that are printed
# One hue that darkens, so that it reads without colours too; by the steps of `memo.token_runs`.
STYLES = {1: "black on #fee8c8", 2: "black on #fdbb84", 3: "black on #fc8d59", 4: "black on #e34a33"}


def print_document(campaign: "Campaign", doc_id: str) -> None:
    """All of `document_data`, for people. Raises `UsageError` for an unknown id."""
    data = document_data(campaign, doc_id)
    known = data["n_tokens"] is not None
    print(f"{for_terminal(doc_id)}   {data['n_tokens'] if known else 'an unknown number of'} tokens")
    for key, value in data["metadata"].items():
        if value is not None:
            print(f"  {for_terminal(key)}: {for_terminal(value, 400)}")
    _print_text(data["text"])
    _print_scores(data["scores"])
    _print_tokens(data["tokens"], data["text"])
    _print_groups(data["groups"], doc_id)
    epochs = [
        (str(e["epoch"]), number(e["loss_in"]), number(e["loss_out"]), number(e["gap"])) for e in data["by_epoch"]
    ]
    if epochs:
        title = "Mean loss by epoch, over the splits with and without the document"
        print_table(title, ("epoch", "in", "out", "out - in"), epochs)


def _print_text(text: str | None) -> None:
    if text is None:
        print("\n(its text is not known)\n")
        return
    print(f"\n{paragraphs_for_terminal(text[:CHARACTERS])}")
    if len(text) > CHARACTERS:
        print(f"({len(text) - CHARACTERS:,} more characters; --json has them all)")
    print()


def _print_scores(scores: list[dict[str, Any]]) -> None:
    if not scores:
        print("not scored yet\n")
        return
    rows: list[tuple[str, ...]] = [
        (
            row["rule"],
            interval(row),
            number(row["loss_in"]),
            number(row["loss_out"]),
            sides(row["n_in"], row["n_out"]),
            f"{row['group_size']} {for_terminal(row['group_id'], 24)}",
            row["reason"] or "",
        )
        for row in scores
    ]
    columns: tuple[str, ...] = ("rule", "memorization [95 %]", "in", "out", "n", "group", "note")
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table("Scores, nats per token", columns, rows)


def _print_groups(groups: dict[str, list[str]], doc_id: str) -> None:
    lines = []
    for rule, members in groups.items():
        others = [member for member in members if member != doc_id]
        if others:
            named = ", ".join(for_terminal(member, 40) for member in others[:MEMBERS])
            more = f" and {len(others) - MEMBERS:,} more" if len(others) > MEMBERS else ""
            lines.append(f"{for_terminal(rule)}: together with {named}{more}\n")
    if lines:
        print("".join(lines))


def _print_tokens(found: dict[str, Any] | None, text: str | None) -> None:
    """The text coloured by the memorization of its tokens, where there are colours, and the most memorized ones."""
    if found is None or text is None:
        return
    tokens = found["rows"]
    out = console()
    if out.color_system is not None:
        out.print(coloured(tokens, text), soft_wrap=False, highlight=False)
        print(f"coloured from {', '.join(f'{SHADES[step - 1]:g}' for step in STYLES)} nats of memorization up\n")
    known = [token for token in tokens if token["memorization"] is not None]
    most = sorted(known, key=lambda token: -token["memorization"])[:TOKENS]
    rows = [
        (
            str(token["position"]),
            interval(token),
            number(token["loss_in"]),
            number(token["loss_out"]),
            for_terminal(in_context(token, text)),
        )
        for token in sorted(most, key=lambda token: token["position"])
    ]
    columns = ("token", "memorization [95 %]", "in", "out", "text, the token in brackets")
    print_table(f"The {len(rows)} most memorized of {len(tokens)} tokens by rule {found['rule']}, nats", columns, rows)


def coloured(tokens: list[dict[str, Any]], text: str) -> "Text":
    """A character of several tokens has the colour of the most memorized of them."""
    from rich.text import Text

    shown = text[:CHARACTERS]
    result = Text()
    for piece in pieces([token for token in tokens if token["end"] <= len(shown)], len(shown)):
        result.append(paragraphs_for_terminal(shown[piece.start : piece.end]), STYLES.get(piece.shade, ""))
    return result
