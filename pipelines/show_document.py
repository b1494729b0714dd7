"""One document on the terminal: its text, its scores under every rule, its tokens, its loss by epoch."""

import math
import sys
from typing import TYPE_CHECKING, Any

from memo.text import for_terminal, paragraphs_for_terminal
from memo.token_scores import TokensNotKeptError
from pipelines.show import interval, number, print_table, records, sides

if TYPE_CHECKING:
    from rich.text import Text

    from memo.campaign import Campaign

TOKENS = 12  # the most memorized ones are listed
# One hue that darkens, so that it reads without colours too; from so many nats.
SHADES = ((2.0, "black on #e34a33"), (1.0, "black on #fdbb84"), (0.5, "black on #fee8c8"))


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
    print_tokens(data["tokens"], data["text"])
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
        "tokens": _tokens(campaign, doc_id, scores),
        "by_epoch": _by_epoch(campaign, position),
    }


def _tokens(campaign: "Campaign", doc_id: str, scores: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Memorization token by token, by the first rule that has a score; None where no such losses were kept."""
    scored = [row for row in scores if row["memorization"] is not None]
    if not scored or not any(campaign.layout.token_losses(split).exists() for split in campaign.trained_splits()):
        return None
    rule, group = scored[0]["rule"], scored[0]["group_id"]
    try:
        return {"rule": rule, "rows": records(campaign.token_scores(doc_id, rule, group, allow_partial=True))}
    except TokensNotKeptError:
        return None


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


def print_tokens(found: dict[str, Any] | None, text: str | None) -> None:
    """The text coloured by the memorization of its tokens, where there are colours, and the most memorized ones."""
    if found is None or text is None:
        return
    tokens = found["rows"]
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(coloured(tokens, text), soft_wrap=False, highlight=False)
        print(f"coloured from {', '.join(f'{least:g}' for least, _ in reversed(SHADES))} nats of memorization up\n")
    known = [token for token in tokens if token["memorization"] is not None]
    most = sorted(known, key=lambda token: -token["memorization"])[:TOKENS]
    rows = [
        (
            str(token["position"]),
            interval(token),
            number(token["loss_in"]),
            number(token["loss_out"]),
            _in_context(token, text),
        )
        for token in sorted(most, key=lambda token: token["position"])
    ]
    columns = ("token", "memorization [95 %]", "in", "out", "text, the token in brackets")
    print_table(f"The {len(rows)} most memorized of {len(tokens)} tokens by rule {found['rule']}, nats", columns, rows)


def _in_context(token: dict[str, Any], text: str, around: int = 16) -> str:
    """`word before[ this] word after`, on one line."""
    start, end = token["start"], token["end"]
    before, here, after = (
        "".join(" " if character.isspace() else for_terminal(character) for character in part)
        for part in (text[max(0, start - around) : start], text[start:end], text[end : end + around])
    )
    return f"{before}[{here}]{after}"


def coloured(tokens: list[dict[str, Any]], text: str) -> "Text":
    """A character of several tokens has the colour of the most memorized of them."""
    from rich.text import Text

    scores = [-math.inf] * len(text)
    for token in tokens:
        for place in range(token["start"], token["end"]):
            scores[place] = max(scores[place], -math.inf if token["memorization"] is None else token["memorization"])
    result, begin = Text(), 0
    styles = [next((style for least, style in SHADES if score >= least), "") for score in scores]
    for end in range(1, len(text) + 1):
        if end == len(text) or styles[end] != styles[begin]:
            result.append(paragraphs_for_terminal(text[begin:end]), styles[begin])
            begin = end
    return result
