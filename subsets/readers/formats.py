"""Each file format as a generator of records: `(file, source) -> Record or Rejected`, one for every record it holds.

The number in a location and in a position-based identifier is the line on which the record begins (the row, in
Parquet), counted from 1.
"""

import csv
import json
from collections.abc import Callable, Iterator
from typing import Final

from memo.config import Source
from memo.errors import UsageError
from subsets.readers import hub
from subsets.readers.columns import BATCH_ROWS, arrow_records, used_columns
from subsets.readers.files import File, folder_found, unreadable
from subsets.readers.lines import Line, decode, read_lines, read_whole
from subsets.readers.records import (
    EMPTY_LINE,
    INVALID_CSV,
    INVALID_JSON,
    NOT_AN_OBJECT,
    WRONG_CELLS,
    Record,
    Rejected,
)

Records = Iterator[Record | Rejected]

SUFFIXES: Final = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".txt": "text", ".md": "text", ".text": "text",
}  # fmt: skip
# The csv module keeps a field in 4 bytes a character and this limit for the whole process. A field beyond it is a
# quote that was never closed.
_FIELD_CHARS = 1 << 28


def format_of(file: File, source: Source) -> str:
    """The name of the file's format in `READERS`."""
    if file.is_folder:
        if hub.is_saved_dataset(file.path):
            return "dataset"
        raise UsageError(folder_found(file.name))
    if source.format != "auto":
        return source.format
    if file.suffix not in SUFFIXES:
        known, found = ", ".join(SUFFIXES), file.suffix or "no extension"
        raise UsageError(f"{file.name}: expected one of {known} (and .gz or .zst), found {found}; set corpus.format")
    return SUFFIXES[file.suffix]


def jsonl_records(file: File, source: Source) -> Records:
    """One JSON object per line."""
    for line in read_lines(file):
        yield _json_record(line, file)


def _json_record(line: Line, file: File) -> Record | Rejected:
    location = f"{file.name}:{line.number}"
    if not line.raw.strip():
        return Rejected(location, EMPTY_LINE, "")
    text = decode(line.content, line.offset_bytes, location)
    if isinstance(text, Rejected):
        return text
    try:
        fields = json.loads(text)
    except RecursionError:
        return Rejected(location, INVALID_JSON, "nested too deeply")
    except ValueError as error:  # also raised for integers of thousands of digits
        return Rejected(location, INVALID_JSON, str(error))
    if not isinstance(fields, dict):
        return Rejected(location, NOT_AN_OBJECT, f"found {type(fields).__name__}")
    return Record(location, f"{file.key}:{line.number}", fields)


def csv_records(file: File, source: Source) -> Records:
    """CSV with a header."""
    return _table(file, source, ",")


def tsv_records(file: File, source: Source) -> Records:
    """TSV with a header, quoted as CSV is."""
    return _table(file, source, "\t")


def _table(file: File, source: Source, delimiter: str) -> Records:
    rows = _csv_rows(file, delimiter)
    _, header = next(rows, (1, []))
    if isinstance(header, Rejected):
        raise UsageError(f"{file.name}: expected a header of column names, found {header.reason} at {header.detail}")
    used_columns(file.name, header, source)
    for number, cells in rows:
        location = f"{file.name}:{number}"
        if isinstance(cells, Rejected):
            yield cells
        elif not cells:
            yield Rejected(location, EMPTY_LINE, "")
        elif len(cells) != len(header):
            yield Rejected(location, WRONG_CELLS, f"expected {len(header)}, found {len(cells)}")
        else:
            yield Record(location, f"{file.key}:{number}", dict(zip(header, cells, strict=True)))


def _csv_rows(file: File, delimiter: str) -> Iterator[tuple[int, list[str] | Rejected]]:
    """Rows with the number of their first line. Strict: quotes that are not CSV are refused, never guessed at."""
    csv.field_size_limit(_FIELD_CHARS)
    feed = _Feed(file)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.bad_byte = None
        first = feed.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, Rejected(f"{file.name}:{first}", INVALID_CSV, f"lines {first} to {feed.number}: {error}")
            continue
        bad = feed.bad_byte
        yield first, cells if bad is None else Rejected(f"{file.name}:{first}", bad.reason, bad.detail)


class _Feed:
    """Lines for the csv module, which reads one row's lines and no more; remembers the row's first bad byte."""

    def __init__(self, file: File) -> None:
        self.number = 0
        self.bad_byte: Rejected | None = None
        self._file = file
        self._lines = read_lines(file)

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        text = decode(line.raw, line.offset_bytes, self._file.name)
        if isinstance(text, str):
            return text
        self.bad_byte = self.bad_byte or text
        return line.raw.decode("utf-8", "surrogateescape")


def parquet_records(file: File, source: Source) -> Records:
    """Row by row, a thousand rows in memory, only the columns that are used."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    if file.compression is not None:
        raise UsageError(f"{file.name}: expected a plain Parquet file, found {file.compression}; unpack it first")
    try:
        with file.open() as raw:
            table = ParquetFile(raw)
            columns = used_columns(file.name, table.schema_arrow.names, source)
            batches = table.iter_batches(batch_size=BATCH_ROWS, columns=columns)
            yield from arrow_records(batches, file.name, file.key)
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable(file, error) from error


def text_records(file: File, source: Source) -> Records:
    """Plain text: a document per file, line or block of lines."""
    if source.document_per == "file":
        whole = read_whole(file)
        yield _text_record(decode(whole.raw, whole.offset_bytes, file.name), file.name, f"{file.key}:1", source)
    elif source.document_per == "line":
        for line in read_lines(file):
            location = f"{file.name}:{line.number}"
            content = decode(line.content, line.offset_bytes, location)
            yield _text_record(content, location, f"{file.key}:{line.number}", source)
    else:
        for block in _blocks(file):
            location = f"{file.name}:{block[0].number}"
            contents = [decode(line.content, line.offset_bytes, location) for line in block]
            bad = next((content for content in contents if isinstance(content, Rejected)), None)
            joined = bad or "\n".join(str(content) for content in contents)
            yield _text_record(joined, location, f"{file.key}:{block[0].number}", source)


def _blocks(file: File) -> Iterator[list[Line]]:
    block: list[Line] = []
    for line in read_lines(file):
        if line.raw.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _text_record(content: str | Rejected, location: str, position_id: str, source: Source) -> Record | Rejected:
    return content if isinstance(content, Rejected) else Record(location, position_id, {source.text: content})


READERS: Final[dict[str, Callable[[File, Source], Records]]] = {
    "jsonl": jsonl_records,
    "csv": csv_records,
    "tsv": tsv_records,
    "parquet": parquet_records,
    "text": text_records,
    "dataset": hub.saved_records,
}
