"""What untrusted text becomes: nothing in it is interpreted, moves a cursor or reorders a line."""

import csv
import html
import io
import string
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memo.text import columns_of, for_csv, for_html, for_terminal, paragraphs_for_terminal

ANY = st.text(st.characters(codec=None, categories=None), max_size=60)  # lone surrogates too
SEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def unseen(text: str, kept: str = "") -> set[str]:
    return {c for c in text if unicodedata.category(c) in SEEN and c not in kept}


@given(ANY)
@example("\x1b[31m\u202e\x00\ud800\u2028\x9b")
def test_nothing_unseen_is_left(text: str) -> None:
    assert not unseen(for_terminal(text))
    assert not unseen(paragraphs_for_terminal(text), "\n")
    assert not unseen(for_html(text), "\n\t\u200c\u200d")
    assert not unseen(str(for_csv(text)), "\n\t\u200c\u200d")


def test_escapes_are_what_python_writes() -> None:
    assert for_terminal("a\x1b[31m\u202eb\ud800") == "a\\x1b[31m\\u202eb\\ud800"
    assert for_html("\r\n\r\x00") == "\n\\r\\x00"
    assert (
        for_html("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645")
        == "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    )


@given(ANY, st.integers(0, 30))
@example("\u5929" * 30, 7)
@example("e\u0301" * 30, 5)
@example(" " * 300 + "x", 5)
def test_a_cut_line_fits_and_says_that_it_is_cut(text: str, width: int) -> None:
    cut, whole = for_terminal(text, width), for_terminal(text)
    assert columns_of(cut) <= width and "\n" not in cut
    assert cut == whole or width == 0 or cut.endswith("…")
    assert cut == whole or columns_of(whole) > width


@given(ANY)
def test_html_has_no_markup_and_reads_back(text: str) -> None:
    shown = for_html(text)
    assert not set(shown) & set("<>\"'")
    assert for_html(html.unescape(shown)) == shown


@pytest.mark.parametrize(
    "formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u00a0=1", "\uff1d1"]
)
def test_no_cell_begins_a_formula(formula: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([for_csv(formula)])
    (cell,) = next(csv.reader(io.StringIO(out.getvalue())))
    assert cell.startswith("'")


def test_other_cells_stay_as_they_are() -> None:
    for value in ("plain", "a=b", "", 'quotes "', -1.5, None, 3, "two\nlines", "\u5929"):
        assert for_csv(value) == value


@pytest.mark.parametrize("text", ["a" * 10_000_000, "a\x1b" * 5_000_000, "\u8a9e " * 5_000_000, "\u202e" * 10_000_000])
@pytest.mark.parametrize("function", [for_html, for_csv, paragraphs_for_terminal, lambda text: for_terminal(text, 40)])
def test_ten_million_characters_take_a_moment(function: Callable[[str], object], text: str) -> None:
    started = time.process_time()
    function(text)
    assert time.process_time() - started < 10  # a second or so where nothing else runs


def test_plain_text_is_not_touched() -> None:
    assert for_terminal(string.printable.split()[0]) == string.printable.split()[0]
