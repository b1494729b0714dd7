"""How a document shows itself: its text coloured by the memorization of its tokens, scores, groups with differences.

document = campaign.document("t3")        a notebook shows it
document.data["scores"]                   plain data, with the keys of `memo.document.FIELDS`
"""

from collections.abc import Iterator, Mapping
from typing import Any

from memo.html import Html, details, element, escaped, frame, lines, quiet, table, text_block
from memo.in_words import interval, number, sides
from memo.text import for_terminal
from memo.token_runs import SHADES, Piece, pieces

CHARACTERS = 20_000  # of a text that are shown
MOST = 8  # memorized tokens that are listed
CONTEXT = 60  # characters of a text shown before and after a difference
COLUMNS = 76  # of the plain form
# Vermilion for what is known, blue for what is known less; translucent, so that the theme's text stays readable.
_KNOWN, _LESS = "213,94,0", "0,114,178"
_OPACITY = (0.0, 0.16, 0.3, 0.45, 0.6)


class ShownDocument:
    """One document of a campaign."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        """data: of `memo.document.document_data`."""
        self.data = dict(data)

    @property
    def doc_id(self) -> str:
        return str(self.data["doc_id"])

    @property
    def text(self) -> str | None:
        return None if self.data["text"] is None else str(self.data["text"])

    def __repr__(self) -> str:
        text = "(its text is not known)" if self.text is None else for_terminal(self.text, COLUMNS - 2)
        told = [f"document {for_terminal(self.doc_id, 50)}: {_size(self.data['n_tokens'])}", f"  {text}"]
        told += [f"  {_line(row)}" for row in self.data["scores"]] or ["  not scored yet"]
        told += [
            f"  {for_terminal(rule, 24)}: {len(members):,} documents in its group"
            for rule, members in self.data["groups"].items()
            if len(members) > 1
        ]
        return "\n".join(told)

    def _repr_html_(self) -> str:
        data = self.data
        title = [f"{self.doc_id} ", element("span", _size(data["n_tokens"]), style="font-weight:400;opacity:.75")]
        metadata = [f"{name}: {value}" for name, value in data["metadata"].items() if value is not None]
        return frame(
            Html("".join(escaped(part) for part in title)),
            quiet(lines(metadata)),
            self._text(),
            _scores(data["scores"]),
            *(_group(rule, members, data["members"][rule], self.text) for rule, members in data["groups"].items()),
            _by_epoch(data["by_epoch"]),
            label=f"document {self.doc_id}",
        )

    def _text(self) -> Html:
        if self.text is None:
            return quiet("its text is not known")
        shown = self.text[:CHARACTERS]
        more = f"{len(self.text) - CHARACTERS:,} more characters are not shown" if len(self.text) > CHARACTERS else ""
        tokens = self.data["tokens"]
        if tokens is None:
            return Html(text_block(shown) + (quiet(more) if more else ""))
        rows = [row for row in tokens["rows"] if row["end"] <= CHARACTERS]
        coloured = "".join(_coloured(piece, shown) for piece in pieces(rows, len(shown)))
        parts = [text_block(Html(coloured)), quiet(more) if more else "", _legend(), _most(tokens, self.text)]
        return Html("".join(parts))


def _size(tokens: int | None) -> str:
    return "tokens not known" if tokens is None else f"{tokens:,} tokens"


def _line(row: Mapping[str, Any]) -> str:
    score = interval(row["memorization"], row["ci_low"], row["ci_high"])
    unit = "" if score == "-" else " nats per token"
    why = f" ({for_terminal(row['reason'], 100)})" if row["reason"] else ""
    return f"{for_terminal(row['rule'], 24)}: {score}{unit}{why}"


def _coloured(piece: Piece, text: str) -> Html:
    shown = text[piece.start : piece.end]
    if piece.shade == 0:
        return escaped(shown)
    return element("span", shown, style=_shade(piece.shade), title=f"{piece.score:+.2f} nats")


def _shade(step: int) -> str:
    colour, line = (_KNOWN, "solid") if step > 0 else (_LESS, "dotted")
    return f"background:rgba({colour},{_OPACITY[abs(step)]});border-bottom:2px {line} rgba({colour},.8);color:inherit"


def _legend() -> Html:
    """What the colours say, in words too."""
    known = [element("span", f" from {least:g} ", style=_shade(step)) for step, least in enumerate(SHADES, start=1)]
    less = element("span", f" from -{SHADES[0]:g} down ", style=_shade(-1))
    told = "memorization of a token, nats, underlined: "
    return quiet(Html(escaped(told) + " ".join(known) + escaped("; known worse, dotted: ") + less))


def _most(tokens: Mapping[str, Any], text: str) -> Html:
    known = [row for row in tokens["rows"] if row["memorization"] is not None]
    most = sorted(known, key=lambda row: -row["memorization"])[:MOST]
    rows = [
        (
            row["position"],
            in_context(row, text),
            interval(row["memorization"], row["ci_low"], row["ci_high"]),
            number(row["loss_in"]),
            number(row["loss_out"]),
        )
        for row in sorted(most, key=lambda row: row["position"])
    ]
    columns = ("token", "the token in brackets", "memorization [95 %]", "loss in", "out")
    found = table(columns, rows, f"by rule {tokens['rule']}, nats")
    return details(f"the {len(rows)} most memorized of {len(tokens['rows'])} tokens", found)


def in_context(token: Mapping[str, Any], text: str, around: int = 16) -> str:
    """`word before[ this] word after`, on one line."""
    start, end = token["start"], token["end"]
    parts = text[max(0, start - around) : start], text[start:end], text[end : end + around]
    before, here, after = ("".join(" " if character.isspace() else character for character in part) for part in parts)
    return f"{before}[{here}]{after}"


def _scores(scores: list[dict[str, Any]]) -> Html:
    if not scores:
        return quiet("not scored yet")
    rows = [
        (
            row["rule"],
            interval(row["memorization"], row["ci_low"], row["ci_high"]),
            number(row["loss_in"]),
            number(row["loss_out"]),
            sides(row["n_in"], row["n_out"]),
            f"{row['group_size']:,}",
            row["reason"] or "",
        )
        for row in scores
    ]
    columns = ("rule", "memorization [95 %]", "loss in", "out", "models", "documents", "note")
    return table(columns, rows, "loss without it - loss with it, nats per token; positive = memorized")


def _group(rule: str, members: list[str], compared: list[dict[str, Any]], text: str | None) -> Html:
    others = len(members) - 1
    if others < 1:
        return Html("")
    shown = [_member(other, text) for other in compared]
    left = others - len(compared)
    more = [quiet(f"and {left:,} more: campaign.groups({rule!r})")] if left > 0 else []
    told = f"{rule}: {others:,} other {'document' if others == 1 else 'documents'} in its group"
    marked = any(other["differences"] and other["complete"] for other in compared)
    key = (
        [quiet("underlined: words of the other document; struck out: those of this one in their place")]
        if marked
        else []
    )
    return details(told, *key, *shown, *more)


def _member(other: Mapping[str, Any], text: str | None) -> Html:
    if other["text"] is None or text is None:
        return lines([other["doc_id"]])
    if not other["differences"]:
        what = "the same words" if other["text"] != text else "the same text"
        return lines([f"{other['doc_id']}: {what}"])
    if not other["complete"]:
        return lines([f"{other['doc_id']}: too long to be compared word by word"])
    marked = Html("".join(_marked(other["differences"], text, other["text"])))
    return Html(lines([f"{other['doc_id']}:"]) + text_block(marked))


def _marked(differences: list[dict[str, int]], text: str, other: str) -> Iterator[Html]:
    """The other text, with its differences."""
    place = 0
    for number_, span in enumerate(differences):
        yield escaped(_shortened(other[place : span["other_start"]], first=number_ == 0))
        lost, own = text[span["start"] : span["end"]], other[span["other_start"] : span["other_end"]]
        if lost:
            yield element("del", lost, style=f"background:rgba({_LESS},.2);color:inherit")
            yield escaped(" ") if own else Html("")
        if own:
            yield element("ins", own, style=f"background:rgba({_KNOWN},.25);color:inherit")
        place = span["other_end"]
    yield escaped(_shortened(other[place:], last=True))


def _shortened(text: str, first: bool = False, last: bool = False) -> str:
    """What both texts have, without its middle where it is long."""
    if len(text) <= 3 * CONTEXT:
        return text
    before, after = "" if first else text[:CONTEXT], "" if last else text[-CONTEXT:]
    return f"{before} … {after}"


def _by_epoch(rows: list[dict[str, Any]]) -> Html:
    if len(rows) < 2:
        return Html("")
    cells = [(row["epoch"], number(row["loss_in"]), number(row["loss_out"]), number(row["gap"])) for row in rows]
    found = table(("epoch", "loss in", "out", "out - in"), cells, "mean loss over the models with and without it")
    return details("by epoch", found)
