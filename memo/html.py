"""Small pieces of HTML for notebooks: no script, styled inline, readable on light and dark themes.

Colours are the theme's own, or translucent ones laid over them. Every text passes through `memo.text.for_html`, and no
formula in it is typeset.
"""

from collections.abc import Iterable, Sequence

from memo.text import NO_MATH, for_html

_FRAME = "font-size:90%;line-height:1.45;max-width:64em;border:1px solid rgba(128,128,128,.45);border-radius:6px"
_PLAIN = "border:0;background:none;color:inherit;font-size:inherit"
_CELL = f"{_PLAIN};padding:.15em .8em .15em 0;text-align:left;vertical-align:top"
_QUIET = "opacity:.75"


class Html(str):
    """Markup that was made here; everything else is text and is escaped."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """Markup as it is, anything else as text."""
    return value if isinstance(value, Html) else Html(for_html(str(value)))


def element(name: str, *content: object, style: str = "", **attributes: str) -> Html:
    """`<name style attributes>content</name>`; `class_` and `aria_label` lose and change their underscore."""
    given = {"style": style} if style else {}
    given |= {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    written = "".join(f' {key}="{for_html(value)}"' for key, value in given.items())
    return Html(f"<{name}{written}>{''.join(escaped(part) for part in content)}</{name}>")


def frame(title: object, *content: object, label: str) -> Html:
    """What a notebook shows: a box with a title."""
    head = element("div", title, style="font-weight:600;margin-bottom:.4em;overflow-wrap:anywhere")
    return element(
        "div", head, *content, style=f"{_FRAME};padding:.7em 1em", class_=NO_MATH, role="group", aria_label=label
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Html:
    """A table with a head; cells are text unless they are markup."""
    head = element("tr", *(element("th", name, style=f"{_CELL};font-weight:600", scope="col") for name in columns))
    body = [element("tr", *(_cell(value) for value in row), style="background:none") for row in rows]
    title = element(
        "caption",
        caption,
        style=f"caption-side:top;text-align:left;white-space:nowrap;color:inherit;font-size:inherit;{_QUIET}",
    )
    inner = [*([title] if caption else []), element("thead", head), element("tbody", *body)]
    whole = element("table", *inner, style="border-collapse:collapse;border:0;margin:.3em 0;color:inherit")
    return element("div", whole, style="overflow-x:auto")


def pairs(rows: Iterable[tuple[str, object]]) -> Html:
    """Names and what they stand for, one pair a line."""
    named = f"{_CELL};{_QUIET};font-weight:400;white-space:nowrap"
    heads = ((element("th", name, style=named, scope="row"), value) for name, value in rows)
    body = [element("tr", head, _cell(value), style="background:none") for head, value in heads]
    return element("table", element("tbody", *body), style="border-collapse:collapse;border:0;margin:0;color:inherit")


def _cell(value: object) -> Html:
    return element("td", value, style=f"{_CELL};overflow-wrap:anywhere")


def lines(values: Iterable[object]) -> Html:
    """One below the other."""
    return Html("".join(element("div", value) for value in values))


def details(summary: object, *content: object, open_: bool = False) -> Html:
    """What unfolds."""
    head = element("summary", summary, style="cursor:pointer")
    opened = " open" if open_ else ""
    return Html(f'<details{opened} style="margin:.4em 0">{head}{"".join(escaped(part) for part in content)}</details>')


def text_block(content: object) -> Html:
    """A text with its line breaks, in the direction in which it is written, however long its words."""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;max-height:24em;overflow-y:auto"
    return element("div", content, style=f"{style};margin:.4em 0", dir="auto", tabindex="0")


def quiet(content: object) -> Html:
    """A remark."""
    return element("div", content, style=_QUIET)
