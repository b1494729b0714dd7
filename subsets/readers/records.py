"""One raw record of a corpus: what it must be to become a document, and the reasons why it does not.

Every record that is read ends as exactly one `Document` or one `Rejected`, so that kept + rejected = read. Nothing is
repaired: a text is kept as it is or rejected with a reason from `REASONS`, which reports can count.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from memo.config import Source

EMPTY_LINE: Final = "empty line"
INVALID_UTF8: Final = "invalid UTF-8"
INVALID_JSON: Final = "invalid JSON"
NOT_AN_OBJECT: Final = "not an object"
INVALID_CSV: Final = "invalid CSV"
WRONG_CELLS: Final = "wrong number of cells"
UNREADABLE_VALUE: Final = "unreadable value"
NOT_PYTHON: Final = "not Python"
MISSING_TEXT: Final = "missing text"
TEXT_TYPE: Final = "text is not a string"
EMPTY: Final = "empty"
INVALID_UNICODE: Final = "invalid Unicode"
MISSING_ID: Final = "missing id"
ID_TYPE: Final = "id is not a string or a whole number"
EMPTY_ID: Final = "empty id"
TOO_SHORT: Final = "too short"
TOO_LONG: Final = "too long"
NOT_SAMPLED: Final = "not sampled"

REASONS: Final = (
    EMPTY_LINE, INVALID_UTF8, INVALID_JSON, NOT_AN_OBJECT, INVALID_CSV, WRONG_CELLS, UNREADABLE_VALUE, NOT_PYTHON,
    MISSING_TEXT, TEXT_TYPE, EMPTY, INVALID_UNICODE, MISSING_ID, ID_TYPE, EMPTY_ID, TOO_SHORT, TOO_LONG, NOT_SAMPLED,
)  # fmt: skip

IMPLICIT_ID: Final = "id"  # the field that names a document where the source does not say which
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_FIELDS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Document:
    """A text that is kept, character by character as it was found."""

    doc_id: str
    text: str
    metadata: dict[str, str | None]
    location: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is not kept: where it stands, why (one of `REASONS`), and what was found."""

    location: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of one record, before anything about them is checked."""

    location: str
    position_id: str  # the identifier of a record that brings none
    fields: Mapping[str, Any]


def replace_surrogates(text: str) -> str:
    """`text` with U+FFFD for code points that no file can hold."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def to_document(record: Record, source: Source) -> Document | Rejected:
    """The document in a record, or the first reason against it."""
    text = record.fields.get(source.text)
    problem = _text_problem(text, record, source) or _id_problem(record, source)
    if problem is not None:
        return problem
    try:
        metadata = {name: _metadata_value(record.fields.get(name)) for name in source.metadata}
    except RecursionError:
        return Rejected(record.location, INVALID_JSON, "a metadata field is nested too deeply")
    return Document(_doc_id(record, source), str(text), metadata, record.location)


def _text_problem(text: Any, record: Record, source: Source) -> Rejected | None:
    if text is None:
        if source.text in record.fields:
            return Rejected(record.location, MISSING_TEXT, f"field {source.text!r} is null")
        found = ", ".join(sorted(record.fields)[:_FIELDS_SHOWN]) or "nothing"
        detail = f"no field {source.text!r}, found {found}"
        return Rejected(record.location, MISSING_TEXT, replace_surrogates(detail))
    if not isinstance(text, str):
        return Rejected(record.location, TEXT_TYPE, f"found {type(text).__name__}")
    if not text or text.isspace():
        return Rejected(record.location, EMPTY, f"{len(text)} characters of white space")
    if not _is_unicode(text):
        return Rejected(record.location, INVALID_UNICODE, f"lone surrogate in field {source.text!r}")
    return None


def _id_problem(record: Record, source: Source) -> Rejected | None:
    """Only an identifier that the user asked for can be wrong; without one there is always the position."""
    if source.id is None:
        return None
    value = record.fields.get(source.id)
    if value is None:
        return Rejected(record.location, MISSING_ID, f"field {source.id!r}")
    if not isinstance(value, str | int) or isinstance(value, bool):
        return Rejected(record.location, ID_TYPE, f"field {source.id!r}: found {type(value).__name__}")
    if not str(value).strip():
        return Rejected(record.location, EMPTY_ID, f"field {source.id!r}")
    if not _is_unicode(str(value)):
        return Rejected(record.location, INVALID_UNICODE, f"lone surrogate in field {source.id!r}")
    return None


def _doc_id(record: Record, source: Source) -> str:
    value = record.fields.get(source.id or IMPLICIT_ID)
    usable = isinstance(value, str | int) and not isinstance(value, bool) and _is_unicode(str(value))
    return str(value) if usable and str(value).strip() else record.position_id


def _metadata_value(value: Any) -> str | None:
    """Strings stay, everything else becomes compact JSON, so that every column has one type."""
    if value is None:
        return None
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return value if _is_unicode(value) else replace_surrogates(value)


def _is_unicode(text: str) -> bool:
    """False where a lone surrogate stands: such a text cannot be written to any file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
