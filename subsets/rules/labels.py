"""Groups computed elsewhere: a table with an identifier and a group on each row.

    {name: families, rule: labels, path: families.parquet, id: doc_id, group: group_id}

The path is relative to the campaign file; .parquet, .csv, .tsv and .jsonl are read, the last three also as .gz or .zst.
Identifiers and groups are compared and kept as text; an empty or missing group is no group. A document that the table
does not name is in no group. An identifier that the corpus does not have is ignored and counted. A document with two
groups is an error, because groups that are moved together are expected to be a partition; `overlap: true` allows it.

`attrs["notes"]` of what is returned, as plain data: rows (of the table), labelled and unlabelled documents,
unknown_ids (in the table only) and up to five examples of them.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd

from memo.errors import RuleError, UsageError
from memo.rules import rule
from subsets.readers.files import File, open_stream

_SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
_JSON: Final = (".jsonl", ".ndjson")
_EXAMPLES: Final = 5


@rule("labels")
def labels(
    documents: pd.DataFrame, path: str, id: str = "doc_id", group: str = "group_id", overlap: bool = False
) -> "pd.Series | pd.DataFrame":
    """A label for each document that the table names; rows of doc_id and group_id with `overlap`."""
    if not isinstance(overlap, bool):
        raise RuleError(f"rule 'labels': overlap: expected true or false, found {overlap!r}")
    table = _read(path, id, group)
    known = table["doc_id"].isin(documents["doc_id"])
    unknown = table["doc_id"][~known].drop_duplicates()
    if len(documents) and not known.any():
        raise RuleError(
            f"rule 'labels': {path}: expected identifiers of the corpus in the column {id!r}, such as "
            f"{documents['doc_id'].iloc[0]!r}, found none of them{_for_instance(unknown)}"
        )
    named = table[known & (table["group_id"] != "")].drop_duplicates()
    notes = {
        "rows": len(table),
        "labelled": int(named["doc_id"].nunique()),
        "unlabelled": len(documents) - int(named["doc_id"].nunique()),
        "unknown_ids": len(unknown),
        "unknown_examples": unknown.head(_EXAMPLES).tolist(),
    }
    result = named.reset_index(drop=True) if overlap else _one_each(named, documents, path)
    result.attrs["notes"] = notes
    return result


def _one_each(named: pd.DataFrame, documents: pd.DataFrame, path: str) -> "pd.Series":
    double = named["doc_id"].duplicated()
    if double.any():
        doc_id = named["doc_id"][double].iloc[0]
        first, second = named["group_id"][named["doc_id"] == doc_id].iloc[:2]
        raise RuleError(
            f"rule 'labels': {path}: expected one group for each document, found {doc_id!r} in {first!r} and "
            f"{second!r}; correct the table, or set overlap: true"
        )
    return documents["doc_id"].map(named.set_index("doc_id")["group_id"])


def _for_instance(ids: "pd.Series") -> str:
    return f" but {ids.iloc[0]!r}; set id to the column that holds them" if len(ids) else ", the table has no rows"


def _read(path: str, id: str, group: str) -> pd.DataFrame:
    """The table as text: doc_id and group_id, the latter "" where there is none."""
    if not isinstance(path, str) or not Path(path).is_file():
        raise RuleError(f"rule 'labels': path: expected a file on this machine, found no such file {path!r}")
    file = File(path=path, name=path, key="")
    columns: Iterable[tuple[Any, Any]]
    try:
        if file.suffix == ".parquet":
            columns = _parquet_columns(file, id, group)
        elif file.suffix in _SEPARATORS:
            columns = _delimited_columns(file, id, group)
        elif file.suffix in _JSON:
            columns = list(_json_columns(file, id, group))
        else:
            known = ", ".join((".parquet", *_SEPARATORS, *_JSON))
            raise RuleError(f"rule 'labels': {path}: expected one of {known}, found {file.suffix or 'no extension'}")
    except RuleError:
        raise
    except (UsageError, ValueError, OSError) as error:  # pandas and Arrow raise kinds of ValueError
        raise RuleError(f"rule 'labels': {path}: cannot be read: {' '.join(str(error).split())}") from error
    rows = [(_text(doc_id), _text(label)) for doc_id, label in columns]
    return pd.DataFrame(rows, columns=["doc_id", "group_id"], dtype=object)


def _parquet_columns(file: File, id: str, group: str) -> Iterator[tuple[Any, Any]]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file.path)
    _check_columns(file, table.schema_arrow.names, id, group)
    columns = table.read([id, group])
    return zip(columns[id].to_pylist(), columns[group].to_pylist(), strict=True)


def _delimited_columns(file: File, id: str, group: str) -> Iterator[tuple[Any, Any]]:
    with open_stream(file) as stream:
        table = pd.read_csv(stream, sep=_SEPARATORS[file.suffix], dtype=str, keep_default_na=False)
    _check_columns(file, table.columns, id, group)
    return zip(table[id], table[group], strict=True)


def _json_columns(file: File, id: str, group: str) -> Iterator[tuple[Any, Any]]:
    with open_stream(file) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise RuleError(f"rule 'labels': {file.name}:{number}: expected an object, found {fields!r:.60}")
            _check_columns(file, fields, id, group, f":{number}")
            yield fields[id], fields[group]


def _check_columns(file: File, found: Any, id: str, group: str, place: str = "") -> None:
    for setting, column in (("id", id), ("group", group)):
        if column not in found:
            raise RuleError(
                f"rule 'labels': {file.name}{place}: expected a column {column!r}, found "
                f"{', '.join(map(str, found)) or 'none'}; set {setting} to one of them"
            )


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)
