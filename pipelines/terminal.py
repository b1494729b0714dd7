"""Tables that fit the terminal, and colour where there is a terminal that wants it.

A table is as wide as the terminal at most. Columns of text are cut before a column of numbers is left out, from the
right, and what is left out is named.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from memo.text import columns_of, for_terminal, paragraphs_for_terminal

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120  # where there is no terminal
GAP = 3  # columns between columns
MARGIN = 2  # left of a table
SHORTEST_NAME, SHORTEST_TEXT = 12, 8  # columns to which a first column and other text is cut, at least


def console() -> "Console":
    """Colour only on a terminal, and not where NO_COLOR is set or TERM is dumb."""
    from rich.console import Console

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Console(width=width(), color_system="auto" if colour else None, highlight=False)


def say(text: str) -> None:
    """Lines on stdout, whatever the names in them hold."""
    print(paragraphs_for_terminal(text))


def width() -> int:
    """Columns of the terminal; COLUMNS overrides it."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


@contextlib.contextmanager
def readers_may_leave() -> Iterator[None]:
    """`memo scores DIR --csv | head -1` is no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One line a row; the first column names the row."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    rows = [[for_terminal(cell) for cell in row] for row in rows]
    out = console()
    widths = fitting(columns, rows, out.width)
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for column, wide, justify in zip(columns, widths, _justified(rows, len(widths)), strict=False):
        table.add_column(for_terminal(column, wide), justify=justify, width=wide, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row[: len(widths)]))  # Text: brackets in a document are not markup
    with readers_may_leave():
        out.print(Text(f"{title}\n" if rows else f"{title}: none", style="bold"))
        if rows:
            out.print(Padding(table, (0, 0, 0, MARGIN), expand=False))
        if rows and len(widths) < len(columns):
            out.print(Text(f"\n  not shown at this width: {', '.join(columns[len(widths) :])}", style="dim"))
        out.print()


def _justified(rows: Sequence[Sequence[str]], number: int) -> list[Literal["left", "right"]]:
    return ["left" if _is_text(rows, index) else "right" for index in range(number)]


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Width of each column that is shown; those that do not fit are left out, from the right."""
    natural = [max([columns_of(name), *(columns_of(row[i]) for row in rows)]) for i, name in enumerate(columns)]
    least = [min(wide, SHORTEST_TEXT) if _is_text(rows, i) else wide for i, wide in enumerate(natural)]
    least[0] = min(natural[0], SHORTEST_NAME)
    shown = len(columns)
    while shown > 1 and _total(least[:shown]) > width:
        shown -= 1
    found = least[:shown]
    if shown == 1:
        return [max(1, min(natural[0], width - MARGIN))]
    spare = width - _total(found)
    for index in (0, *range(shown - 1, 0, -1)):  # the name first, then what was cut for room, from the right
        more = min(spare, natural[index] - found[index])
        found[index], spare = found[index] + more, spare - more
    return found


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1) + MARGIN


def _is_text(rows: Sequence[Sequence[str]], index: int) -> bool:
    return not rows or any(character.isalpha() for row in rows for character in row[index])
