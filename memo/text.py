"""The only place that makes untrusted text fit to be shown.

Documents, identifiers and labels may hold anything: terminal escapes, bidirectional overrides, formulas. Nothing in
them is ever interpreted.
"""

import unicodedata

# Characters that move the cursor, reorder the line or are not there to be seen: controls, formats, surrogates, private.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def for_terminal(text: str, width: int | None = None) -> str:
    """One line of printable characters; the others are shown as escapes. Cut to `width` characters with an ellipsis."""
    if width is not None and len(text) > 4 * width:
        text = text[: 4 * width]  # enough for the cut below, however long the document is
    flat = " ".join(text.split())
    shown = "".join(_visible(character) for character in flat)
    return shown if width is None or len(shown) <= width else shown[: max(width - 1, 0)] + "…"


def paragraphs_for_terminal(text: str) -> str:
    """The same with line breaks kept."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("".join(_visible(c) for c in line.replace("\t", "    ")) for line in lines)


def for_csv(value: object) -> object:
    """A cell that a spreadsheet does not take for a formula (OWASP, CSV injection)."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSHOWN:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
