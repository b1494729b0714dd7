"""Which words of near-duplicates differ."""

import time

import numpy as np
import pytest

from memo.differences import WORDS, as_data, differences


def marked(text: str, other: str) -> list[tuple[str, str]]:
    spans, complete = differences(text, other)
    assert complete
    return [(text[s.start : s.end], other[s.other_start : s.other_end]) for s in spans]


def test_words_that_differ() -> None:
    assert marked("the quick brown fox jumps", "the quick red fox leaps again") == [
        ("brown", "red"),
        ("jumps", "leaps again"),
    ]
    assert marked("a b c", "a c") == [("b", "")]
    assert marked("a c", "a b c") == [("", "b")]
    assert marked("", "x y") == [("", "x y")]
    assert marked("\u5929\u5730\u7384\u9ec4", "\u5929\u5730\u9ec4") == [("\u7384", "")]


def test_white_space_does_not_count() -> None:
    assert differences("a  b\n", " a b") == ([], True)


def test_what_lies_between_the_differences_is_the_same() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        first, second = (" ".join(rng.choice(list("abcdef."), size=rng.integers(0, 60))) for _ in range(2))
        spans, _ = differences(first, second)
        rest, other_rest, end, other_end = [], [], 0, 0
        for span in spans:
            rest += first[end : span.start].split()
            other_rest += second[other_end : span.other_start].split()
            end, other_end = span.end, span.other_end
        assert rest + first[end:].split() == other_rest + second[other_end:].split()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (" ".join(f"a{i}" for i in range(WORDS + 1)), " ".join(f"b{i}" for i in range(WORDS + 1))),
        ("word " * 100_000 + "x", "y " + "word " * 90_000 + "z"),
        ("x" * 10_000_000, "y" * 10_000_000),
    ],
)
def test_the_work_is_bounded(first: str, second: str) -> None:
    started = time.process_time()
    spans, _ = differences(first, second)
    assert len(spans) == 1 and time.process_time() - started < 10
    assert as_data(spans)[0].keys() == {"start", "end", "other_start", "other_end"}


def test_a_small_difference_of_long_texts_is_found() -> None:
    text = " ".join(f"w{i}" for i in range(20_000))
    assert marked(text, text.replace(" w10000 ", " other ")) == [("w10000", "other")]
