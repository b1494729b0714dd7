"""The only place that makes untrusted text fit to be shown: on the terminal, in HTML, inside a script, in CSV.

Documents, identifiers, metadata and labels may hold anything: terminal escapes, bidirectional overrides, markup,
formulas. Nothing in them is ever interpreted. Characters that cannot be seen are shown as Python writes them, `\\x1b`.
"""

import html
import unicodedata
from collections.abc import Container

# Characters that move the cursor, reorder the line or are not there to be seen: controls, formats, surrogates, private.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LINES = frozenset("\n\t")
_JOINERS = frozenset("\u200c\u200d")  # Persian, Hindi and emoji are written with them, and they move nothing else
# A spreadsheet takes these for the beginning of a formula, some of them also in their full-width forms (OWASP, CSV
# injection).
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def for_terminal(text: str, width: int | None = None) -> str:
    """One line of printable characters, cut to `width` columns of the terminal with an ellipsis.

    A Chinese character takes two columns, a combining accent none. The time does not grow with what is cut off.
    """
    if width is None:
        return _visible(" ".join(text.split()))
    text = text.strip()
    begin = text[: 8 * width + 64]  # enough for the cut, however long the document is
    shown = _visible(" ".join(begin.split()))
    cut = _first_columns(shown, width)
    if len(cut) == len(shown) and len(begin) == len(text):
        return shown
    return _first_columns(shown, width - 1) + "…" if width > 0 else ""


def columns_of(text: str) -> int:
    """Columns that a printable text takes on a terminal."""
    from rich.cells import cell_len

    return cell_len(text)


def for_plot(text: str, glyphs: Container[int], width: int) -> str:
    """The same for a figure: characters that its font lacks are escapes too. glyphs: code points that it has."""
    shown = for_terminal(text, width)
    return "".join(c if ord(c) in glyphs else _escape(c) for c in shown)


def paragraphs_for_terminal(text: str) -> str:
    """The same with line breaks kept."""
    return _visible(text.replace("\r\n", "\n").replace("\t", "    "), kept=_LINES)


def for_html(text: str) -> str:
    """Fit for the content of an HTML element and for a quoted attribute: no markup, no character that reorders.

    Line breaks and tabs are kept. The element around it should have the classes of `NO_MATH`, where a notebook may
    look for formulas.
    """
    return html.escape(for_text_node(text), quote=True)


def for_text_node(text: str) -> str:
    """The same for a script that sets it as text (`textContent`), where markup is none: only unseen characters go."""
    return _visible(text.replace("\r\n", "\n"), kept=_LINES | _JOINERS)


# MathJax, which notebooks run over every output, leaves elements of these classes alone.
NO_MATH = "tex2jax_ignore mathjax_ignore"


def for_csv(value: object) -> object:
    """A cell that no spreadsheet takes for a formula, and that moves no cursor when it is printed."""
    if not isinstance(value, str):
        return value
    shown = _visible(value, kept=_LINES | _JOINERS)
    begins = value[:1] in ("\t", "\r", "\n") or value.lstrip().startswith(_FORMULA)
    return "'" + shown if begins else shown


def _visible(text: str, kept: frozenset[str] = frozenset()) -> str:
    """The text with every character that is not shown, but those kept, as an escape."""
    if text.isprintable():
        return text
    hidden = {c for c in set(text) - kept if unicodedata.category(c) in _UNSHOWN}
    escapes = {ord(c): _escape(c) for c in hidden}
    return text.translate(escapes) if escapes else text


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _first_columns(text: str, width: int) -> str:
    """As many characters as fit."""
    if width >= 2 * len(text):
        return text
    from rich.cells import cell_len

    used = 0
    for place, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return text[:place]
    return text
