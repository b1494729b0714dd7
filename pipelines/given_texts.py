"""Documents and texts of an imported campaign: a Parquet or JSON-lines file with doc_id, and perhaps text and n_tokens.

Every other column is kept as text beside them, for rules that want it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memo.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

ID_NAMES = ("doc_id", "id")


def read_texts(path: Path) -> "pa.Table":
    """doc_id, text, n_tokens and further columns; text and n_tokens are missing where the file has none.

    Raises `UsageError` for a file of another kind, ids that are missing or stand twice, and numbers of tokens below 1.
    """
    import pyarrow as pa

    readers = {".parquet": _read_parquet, ".jsonl": _read_jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None or not path.is_file():
        found = f"a file named {path.suffix}" if path.is_file() else "none"
        raise UsageError(
            f"{path}: expected a .parquet or .jsonl file with a row per text, found {found}; check the path"
        )
    table = reader(path)
    id_name = next((name for name in ID_NAMES if name in table.column_names), None)
    if id_name is None:
        raise UsageError(
            f"{path}: expected a column doc_id, found {', '.join(table.column_names) or 'none'}; rename it"
        )
    columns = {"doc_id": _cast(path, table, id_name, pa.string())}
    columns["text"] = _cast(path, table, "text", pa.large_string())
    columns["n_tokens"] = _cast(path, table, "n_tokens", pa.int64())
    for name in table.column_names:
        if name not in (id_name, *columns):
            columns[name] = _cast(path, table, name, pa.string())
    _check(path, columns)
    return pa.table(columns)


def numbered(prefix: str, number: int) -> "pa.Table":
    """Texts of which nothing is known but how many: ids d0, d1, ..."""
    return with_ids([f"{prefix}{index}" for index in range(number)])


def with_ids(ids: Sequence[str]) -> "pa.Table":
    """Texts of which nothing is known but their identifiers."""
    import pyarrow as pa

    unknown = {"text": pa.nulls(len(ids), pa.large_string()), "n_tokens": pa.nulls(len(ids), pa.int64())}
    return pa.table({"doc_id": pa.array(list(ids), pa.string()), **unknown})


def refuse_double(ids: Sequence[str], where: str) -> None:
    """Raises `UsageError` that names an identifier that stands twice."""
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise UsageError(f"{where}: expected every identifier once, found {twice!r} twice; make them differ")


def _read_parquet(path: Path) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(
            f"{path}: expected a Parquet file, found something else or half of one; copy it again"
        ) from error


def _read_jsonl(path: Path) -> "pa.Table":
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError as error:
                raise UsageError(f"{path}:{number}: expected a JSON object in UTF-8, found: {error}") from error
            if isinstance(row, dict):
                _refuse_surrogates(row, f"{path}:{number}")
                rows.append(row)
            elif row is not None:
                raise UsageError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}; mend the line")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([_plain(name, row.get(name)) for row in rows]) for name in names})


def _refuse_surrogates(row: dict[str, Any], where: str) -> None:
    for name, value in row.items():
        try:
            f"{name}{value if isinstance(value, str) else ''}".encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{where}: {name}: expected text that a file can hold, found the lone surrogate "
                f"{error.object[error.start]!r}; replace it"
            ) from None


def _plain(name: str, value: Any) -> Any:
    """Numbers of tokens as they are, everything else as text."""
    if value is None or (name == "n_tokens" and isinstance(value, int | float)):
        return value
    return value if isinstance(value, str) else json.dumps(value)


def _cast(path: Path, table: "pa.Table", name: str, kind: "pa.DataType") -> "pa.ChunkedArray":
    import pyarrow as pa

    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), kind)])
    try:
        return table[name].cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"{path}: {name}: expected {kind}, found {table[name].type}; convert it or leave it out"
        ) from error


def _check(path: Path, columns: "dict[str, pa.ChunkedArray]") -> None:
    if columns["doc_id"].null_count:
        raise UsageError(
            f"{path}: expected a doc_id in every row, found {columns['doc_id'].null_count} without; add them"
        )
    refuse_double(columns["doc_id"].to_pylist(), str(path))
    counts = columns["n_tokens"].fill_null(1).to_numpy()
    if (counts < 1).any():
        row = int(np.argmax(counts < 1))
        raise UsageError(f"{path}: n_tokens of row {row}: expected at least 1, found {counts[row]}; leave the text out")
