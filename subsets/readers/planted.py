"""A generated corpus whose truth is known: which texts are copies, near-duplicates, quotes or on one topic.

The kinds, in this order: `uuid` (can only be memorized), `repeated` (one word over and over, trivially predicted),
`copies` (each text exactly c times), `family` (one text with single-token edits), `quote` (different texts around one
passage), `topic`. The metadata tell the truth: `planted` is the kind, `planted_group` the documents that belong
together, `planted_copies` the number of copies.

Every text has a random stream of its own, named by its kind and numbers: another size adds or drops documents and
leaves the others as they are. Texts have about 150 to 400 characters and stand nowhere else, so nothing but a copy in
the training set can teach them.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import Final, TypeVar

import numpy as np

from memo.config import Planted
from memo.errors import UsageError
from memo.seeding import generator
from subsets.readers.planted_words import PASSAGE, SENTENCES, TOPIC_SENTENCES, TOPIC_WORDS, WORDS
from subsets.readers.records import Document

T = TypeVar("T")

UUIDS_PER_TEXT: Final = 6
TEXT_CHARS: Final = (180, 300)  # where sentences stop being added; the last one may go beyond
# Longer, so that most pairs of a family, whose edits touch 3 word 3-grams each, keep a Jaccard similarity above 0.7.
FAMILY_CHARS: Final = (310, 330)
QUOTE_CHARS: Final = (40, 90)  # on each side of the passage
TWO_EDITS: Final = 0.25  # share of a family's members with two edits, the others have one
_ALTERNATIVES: Final = {word: words for words in WORDS.values() for word in words}


def planted_documents(sizes: Planted, seed: int) -> Iterator[Document]:
    """Every planted document, kind by kind."""
    _check(sizes)
    yield from _uuids(sizes, seed)
    yield from _repeated(sizes, seed)
    yield from _copies(sizes, seed)
    yield from _families(sizes, seed)
    yield from _quotes(sizes, seed)
    yield from _topic(sizes, seed)


def _check(sizes: Planted) -> None:
    words = len(_repeatable())
    if sizes.repeated > words:
        raise UsageError(f"planted.repeated: expected at most {words}, one word each, found {sizes.repeated}; lower it")
    if len(set(sizes.copies)) < len(sizes.copies):
        raise UsageError(f"planted.copies: expected different numbers, found {list(sizes.copies)}; name each once")


def _uuids(sizes: Planted, seed: int) -> Iterator[Document]:
    for number in range(sizes.uuids):
        rng = generator("planted", "uuid", number, seed=seed)
        text = " ".join(str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(UUIDS_PER_TEXT))
        yield _document("uuid", f"{number:02d}", text)


def _repeated(sizes: Planted, seed: int) -> Iterator[Document]:
    words = _repeatable()
    order = generator("planted", "repeated words", seed=seed).permutation(len(words))
    for number in range(sizes.repeated):
        word = words[int(order[number])]
        chars = _target(generator("planted", "repeated", number, seed=seed), TEXT_CHARS)
        yield _document("repeated", f"{number:02d}", " ".join([word] * (chars // (len(word) + 1))))


def _repeatable() -> list[str]:
    return sorted(WORDS["noun"])


def _copies(sizes: Planted, seed: int) -> Iterator[Document]:
    for copies in sizes.copies:
        for number in range(sizes.texts_per_copies):
            rng = generator("planted", "copies", copies, number, seed=seed)
            text = _prose(rng, SENTENCES, WORDS, TEXT_CHARS)
            for copy in range(copies):
                group = f"copies:{copies}:{number}"
                yield _document("copies", f"{copies}:{number}:{copy}", text, group, copies)


def _families(sizes: Planted, seed: int) -> Iterator[Document]:
    for family in range(sizes.families):
        rng = generator("planted", "family", family, seed=seed)
        tokens = _prose(rng, SENTENCES, WORDS, FAMILY_CHARS).split(" ")
        replaceable = [place for place, token in enumerate(tokens) if _bare(token) in _ALTERNATIVES]
        order = rng.permutation(replaceable)
        for member in range(sizes.family_size):
            # Each member has a first edit of its own, so that no two members are exact copies.
            first = int(order[member % len(order)])
            text = _edited(tokens, first, replaceable, generator("planted", "family", family, member, seed=seed))
            yield _document("family", f"{family}:{member}", text, f"family:{family}")


def _edited(tokens: list[str], first: int, replaceable: list[int], rng: np.random.Generator) -> str:
    """The tokens with one or two of them replaced, each by a word of the same part of speech."""
    places = [first]
    if rng.random() < TWO_EDITS:
        places.append(_pick(rng, [place for place in replaceable if place != first]))
    edited = list(tokens)
    for place in places:
        word = _bare(tokens[place])
        other = _pick(rng, [choice for choice in _ALTERNATIVES[word] if choice != word])
        edited[place] = other + tokens[place][len(word) :]
    return " ".join(edited)


def _quotes(sizes: Planted, seed: int) -> Iterator[Document]:
    for number in range(sizes.quoting):
        rng = generator("planted", "quote", number, seed=seed)
        before = _prose(rng, SENTENCES, WORDS, QUOTE_CHARS)
        after = _prose(rng, SENTENCES, WORDS, QUOTE_CHARS)
        yield _document("quote", f"{number:02d}", f'{before} They say that "{PASSAGE}". {after}', "quote")


def _topic(sizes: Planted, seed: int) -> Iterator[Document]:
    for number in range(sizes.topic):
        rng = generator("planted", "topic", number, seed=seed)
        yield _document("topic", f"{number:02d}", _prose(rng, TOPIC_SENTENCES, TOPIC_WORDS, TEXT_CHARS), "topic")


def _document(kind: str, number: str, text: str, group: str | None = None, copies: int = 1) -> Document:
    doc_id = f"planted:{kind}:{number}"
    metadata = {"planted": kind, "planted_group": group, "planted_copies": str(copies)}
    return Document(doc_id, text, metadata, location=doc_id)


def _prose(
    rng: np.random.Generator, patterns: Sequence[str], words: Mapping[str, Sequence[str]], chars: tuple[int, int]
) -> str:
    """Random sentences until a random length between the two is reached."""
    target = _target(rng, chars)
    sentences = [_sentence(rng, patterns, words)]
    while sum(map(len, sentences)) + len(sentences) - 1 < target:
        sentences.append(_sentence(rng, patterns, words))
    return " ".join(sentences)


def _sentence(rng: np.random.Generator, patterns: Sequence[str], words: Mapping[str, Sequence[str]]) -> str:
    """A random pattern, each of its slots filled by a random word."""
    pieces = []
    for literal, slot, _, _ in Formatter().parse(_pick(rng, patterns)):
        pieces.append(literal)
        if slot is not None:
            pieces.append(_pick(rng, words[slot]))
    return "".join(pieces)


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _target(rng: np.random.Generator, chars: tuple[int, int]) -> int:
    return int(rng.integers(chars[0], chars[1] + 1))


def _bare(token: str) -> str:
    return token.rstrip(".,")
