"""Every document that contains a passage, given as a literal text or as a regular expression: one group.

    {name: genesis, rule: substring, contains: "In the beginning"}
    {name: cave, rule: substring, regex: 'den of (thieves|robbers)', ignore_case: true}

Texts are searched in the form in which `exact` compares them (Unicode form NFC, Unicode Standard Annex 15; white space
as one space), so that a line break inside a quotation changes nothing; `normalize: false` searches them as they are.
A literal is brought into the same form; a pattern is not, so it should expect single spaces. Case counts unless
`ignore_case: true`: literals are then compared by Unicode case folding (Unicode Standard, section 3.13), patterns with
Python's IGNORECASE. A literal is found inside words as well; a pattern can ask for whole words with \\b.

Patterns are those of Python's `re`. One with nested repeats can take longer than anybody waits, and no check of the
pattern tells: in a campaign it runs in a process of its own, with a time (`timeout_s`, 60 s for all documents together)
and a memory (4 GiB). `re` it is because a limit on a process holds for compiling as well as for searching: the package
`regex` has a time limit of its own for searching, but fills the memory when it compiles ((a{1000}){1000}){1000}.

The label is the name of the rule. Found in no document is an error; in one, a notice: that group is the document.
`attrs["notes"]`: documents, found_in, giants (`subsets.giants`), notice.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from memo.errors import RuleError
from memo.limits import OutOfTime
from memo.rules import rule
from subsets.one_group import one_group, shown
from subsets.rules.exact import normalized


@rule("substring")
def substring(
    documents: pd.DataFrame,
    contains: str | None = None,
    regex: str | None = None,
    ignore_case: bool = False,
    normalize: bool = True,
    name: str = "substring",
) -> pd.Series:
    """The label `name` for each document that contains the passage.

    Exactly one of contains, the text, and regex, a pattern of Python's `re`. name: of the rule in the campaign file.
    """
    for key, value in (("ignore_case", ignore_case), ("normalize", normalize)):
        if not isinstance(value, bool):
            raise RuleError(f"rule {name!r}: {key}: expected true or false, found {value!r}")
    given = {key: value for key, value in (("contains", contains), ("regex", regex)) if value is not None}
    if len(given) != 1:
        raise RuleError(
            f"rule {name!r}: expected exactly one of contains and regex, found {' and '.join(given) or 'neither'}"
        )
    ((key, sought),) = given.items()
    if not isinstance(sought, str):
        raise RuleError(f"rule {name!r}: {key}: expected text, found {sought!r}; put it in quotes")
    form = _form(ignore_case and key == "contains", normalize)
    test = _containing(name, sought, form) if key == "contains" else _matching(name, sought, ignore_case)
    found = _search(name, documents, form, test)
    hint = "check the spelling, set ignore_case: true, or look for a shorter part of it"
    return one_group(name, found, documents, f"{key}: {shown(sought)}", hint)


def _form(fold: bool, normalize: bool) -> Callable[[str], str]:
    """The form in which a text is searched. Folding can undo NFC, so that comes last."""

    def form(text: str) -> str:
        if normalize:
            text = normalized(text)
        if fold:
            text = text.casefold()
            text = unicodedata.normalize("NFC", text) if normalize else text
        return text

    return form


def _containing(name: str, sought: str, form: Callable[[str], str]) -> Callable[[str], bool]:
    literal = form(sought)
    if not literal:
        raise RuleError(f"rule {name!r}: contains: expected a text to look for, found {sought!r}, which all contain")
    return lambda text: literal in text


def _matching(name: str, sought: str, ignore_case: bool) -> Callable[[str], bool]:
    try:
        pattern = re.compile(sought, re.IGNORECASE if ignore_case else 0)
    except (re.error, RecursionError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise RuleError(
            f"rule {name!r}: regex: expected a regular expression of Python's re, found {shown(sought)}: {reason}; "
            "use contains for a literal text"
        ) from error
    return lambda text: pattern.search(text) is not None


def _search(
    name: str, documents: pd.DataFrame, form: Callable[[str], str], test: Callable[[str], bool]
) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """(N,) whether the test finds something in each document."""
    found = np.zeros(len(documents), dtype=bool)
    position = 0
    try:
        for position, text in enumerate(documents["text"]):
            found[position] = test(form(text))
    except OutOfTime as error:
        raise RuleError(
            f"rule {name!r}: expected to search all documents within its timeout_s, found that the time ran out in "
            f"document {documents['doc_id'].iloc[position]!r} after {position:,} of {len(documents):,}; make the "
            "pattern simpler (nested repeats such as (a+)+ are slow), or raise timeout_s"
        ) from error
    return found
