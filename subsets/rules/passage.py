"""Every passage that several documents share: the documents that share it are a group. Groups may overlap.

    {name: quotations, rule: passage, min_tokens: 50}

A passage is a run of at least `min_tokens` tokens that stands in two documents or more, as in Lee et al. 2021,
"Deduplicating Training Data Makes Language Models Better" (arXiv 2107.06499, ExactSubstr, 50 tokens). That work removes
the repeated places; here all documents of a passage make a group. A token is a word, what stands between white space
with its punctuation and case, because rules see texts and no tokenizer; `unit: character` counts characters (with white
space as one space), for scripts without spaces. Texts are read in Unicode form NFC.

A passage of 80 words holds 31 passages of 50; they, and all others that stand in exactly the same documents, are one
group. A longer passage that only some of these documents share is a group of its own. So the groups are the different
sets of documents of all passages, found exactly (`subsets.passages`). A label is the beginning of one of the passages,
and a hash of the whole of it.

`attrs["notes"]`, as plain data:

    min_tokens, unit
    documents, tokens        of the corpus; tokens as counted here
    in_groups                documents that are in a group
    rows                     documents of all groups together
    passages                 of the five largest groups: group_id, documents, tokens, text (its beginning)
    giants                   see `subsets.giants`
    notice                   where there is no such passage

More than five million rows are refused: texts that are mostly alike share passages in every combination, and
`near_duplicate` is the rule for them.

Measured (tests/benchmarks/test_passages.py): 100,000 documents of 200 words take 7 s and
0.5 GB beyond the texts, on one core.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final, get_args

import numpy as np
import pandas as pd

from memo.errors import RuleError
from memo.rules import rule
from subsets.giants import giants
from subsets.passages import Passage, shared_passages
from subsets.shingles import Unit
from subsets.word_ids import Numbered, character_ids, word_ids

LARGEST: Final = 1_000_000
_LABEL_CHARACTERS: Final = 32
_LABEL_BYTES: Final = 8  # of a cryptographic hash: among millions of passages no two are alike by accident
_SHOWN_CHARACTERS: Final = 400
_SHOWN: Final = 5


@rule("passage")
def passage(documents: pd.DataFrame, min_tokens: int = 50, unit: Unit = "word") -> pd.DataFrame:
    """Rows of doc_id and group_id, and what was found in `attrs["notes"]`.

    min_tokens: least length of a passage. unit: word or character, what a token is.
    """
    if not isinstance(min_tokens, int) or isinstance(min_tokens, bool) or not 1 <= min_tokens <= LARGEST:
        raise RuleError(
            f"rule 'passage': min_tokens: expected a whole number from 1 to {LARGEST:,}, found {min_tokens!r}"
        )
    if unit not in get_args(Unit):
        raise RuleError(f"rule 'passage': unit: expected one of {', '.join(get_args(Unit))}, found {unit!r}")
    numbered: Callable[[Any], Numbered] = word_ids if unit == "word" else character_ids
    words = numbered(documents["text"])
    found = shared_passages(words, min_tokens)
    labels = [_label(words, each) for each in found]
    sizes = np.array([len(each.documents) for each in found], dtype=np.int64)
    members = np.concatenate([np.empty(0, np.int32), *(each.documents for each in found)])
    frame = pd.DataFrame(
        {
            "doc_id": documents["doc_id"].to_numpy(dtype=object)[members],
            "group_id": np.repeat(np.array(labels, dtype=object), sizes),
        }
    )
    notes: dict[str, Any] = {
        "min_tokens": min_tokens,
        "unit": unit,
        "documents": len(documents),
        "tokens": len(words.ids),
        "in_groups": len(np.unique(members)),
        "rows": len(frame),
        "passages": _largest(words, found, labels),
        "giants": giants(labels, sizes, len(documents)),
    }
    if len(documents) and not found:
        longest = int(np.diff(words.offsets).max())
        notes["notice"] = (
            f"no passage of {min_tokens} {unit}s stands in two documents (the longest document has {longest:,}); "
            "lower min_tokens"
        )
    frame.attrs["notes"] = notes
    return frame


def _label(words: Numbered, found: Passage) -> str:
    """The beginning of the passage, as far as it can be printed, and the hash of the whole."""
    beginning = _printable(words.text(found.start, min(found.length, _LABEL_CHARACTERS)), _LABEL_CHARACTERS)
    text = words.text(found.start, found.length)
    return f"{beginning} {hashlib.blake2b(text.encode(), digest_size=_LABEL_BYTES).hexdigest()}"


def _largest(words: Numbered, found: list[Passage], labels: list[str]) -> list[dict[str, Any]]:
    order = sorted(range(len(found)), key=lambda group: (-len(found[group].documents), labels[group]))
    return [
        {
            "group_id": labels[group],
            "documents": len(found[group].documents),
            "tokens": found[group].length,
            "text": _printable(words.text(found[group].start, found[group].length), _SHOWN_CHARACTERS),
        }
        for group in order[:_SHOWN]
    ]


def _printable(text: str, most: int) -> str:
    text = "".join(character if character.isprintable() else "?" for character in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"
