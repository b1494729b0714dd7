"""Records from columns: the header check that CSV, Parquet and hub datasets share, and Arrow batches as records."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from memo.config import Source
from memo.errors import UsageError
from subsets.readers.records import IMPLICIT_ID, INVALID_UTF8, UNREADABLE_VALUE, Record, Rejected, replace_surrogates

BATCH_ROWS = 1000
_COLUMNS_SHOWN = 20


def used_columns(name: str, columns: Sequence[str], source: Source) -> list[str]:
    """The columns worth reading. Text and a named identifier must be there; no used name may stand twice."""
    for setting, column in (("text", source.text), ("id", source.id)):
        if column is not None and column not in columns:
            raise UsageError(
                f"{name}: expected a column {column!r}, found {_listed(columns)}; set corpus.{setting} to one of them"
            )
    wanted = dict.fromkeys((source.text, source.id or IMPLICIT_ID, *source.metadata))
    for column in wanted:
        if columns.count(column) > 1:
            raise UsageError(f"{name}: expected one column {column!r}, found {columns.count(column)}; rename one")
    return [column for column in wanted if column in columns]


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(repr(replace_surrogates(column)) for column in columns[:_COLUMNS_SHOWN])
    more = f" and {len(columns) - _COLUMNS_SHOWN} more" if len(columns) > _COLUMNS_SHOWN else ""
    return f"{shown}{more}" if columns else "none"


def arrow_records(batches: Iterable[Any], name: str, key: str) -> Iterator[Record | Rejected]:
    """One record per row of Arrow batches or tables; rows count from 1."""
    row = 0
    for batch in batches:
        for fields in _rows(batch):
            row += 1
            location = f"{name} row {row}"
            if isinstance(fields, Exception):
                yield _rejected(location, fields)
            else:
                yield Record(location, f"{key}:{row}", fields)


def _rows(batch: Any) -> Iterator[dict[str, Any] | Exception]:
    """All rows at once, which is fast; row by row only where one of them does not convert."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except (ValueError, OverflowError) as error:
                yield error


def _rejected(location: str, error: Exception) -> Rejected:
    if isinstance(error, UnicodeDecodeError):
        return Rejected(location, INVALID_UTF8, f"byte offset {error.start} of a value")
    return Rejected(location, UNREADABLE_VALUE, replace_surrogates(" ".join(str(error).split())))
