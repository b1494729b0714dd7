"""Matrices as a Parquet table in long form, which every data tool reads: one row per model and document.

    model     text    name of the model
    doc_id    text    the text evaluated, or the document trained on, or both
    loss      number  mean negative log-likelihood per token, nats; missing where the text was not evaluated
    included  bool    the model trained on it; missing for texts that are no documents
    asked, n_correct, accuracy, n_tokens, block, epoch        as in `memo.exchange`, where they are known

Every model has a row for every doc_id (and every epoch), in any order. A text is *evaluated* if it has losses and is a
*document* if it has `included`; that is how texts and documents are told apart and matched.

Cost: the matrices are held in memory, 1 byte for each row of the table and 4 for each number in it. For 400 models of
two million documents take .safetensors or .npz.

Shapes: M models, E epochs, D doc_ids, T of them evaluated, N of them documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memo.errors import UsageError
from memo.exchange import Matrices, Matrix, Names, of_array

if TYPE_CHECKING:
    import pyarrow as pa

KEYS = ("model", "doc_id")
PER_TEXT = {"loss": "losses", "n_correct": "n_correct", "accuracy": "accuracy", "n_tokens": "n_tokens"}
PER_DOCUMENT = {"included": "masks", "asked": "asked"}
ROWS_AT_A_TIME = 1 << 20


class _Table:
    """A Parquet file whose columns are read some rows at a time."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            self.file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(
                f"{path}: expected a Parquet file, found something else or half of one; copy it again"
            ) from error
        self.columns = self.file.schema_arrow.names
        missing = [key for key in KEYS if key not in self.columns]
        if missing:
            raise UsageError(
                f"{path}: expected a table with one row per model and doc_id, found the columns "
                f"{', '.join(self.columns)}; add {' and '.join(missing)}"
            )
        self.models = self._distinct("model")
        self.ids = self._distinct("doc_id")
        self.epochs = sorted(self._distinct("epoch")) if "epoch" in self.columns else ["1"]

    def _distinct(self, column: str) -> list[Any]:
        """Values in the order in which they first appear."""
        import pyarrow as pa

        found: dict[Any, None] = {}
        for batch in self.file.iter_batches(ROWS_AT_A_TIME, columns=[column]):
            found.update(
                dict.fromkeys(batch[0].cast(pa.int64() if column == "epoch" else pa.string()).unique().to_pylist())
            )
        if None in found:
            raise UsageError(f"{self.path}: expected a {column} in every row, found rows without one; fill them in")
        return list(found)

    def cells(self, value: str | None = None) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """Of each batch of rows, where they belong in a matrix of (M, E, D), and what stands in the column `value`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        known = [
            (column, pa.array(values, pa.int64() if column == "epoch" else pa.string()))
            for column, values in (("model", self.models), ("epoch", self.epochs), ("doc_id", self.ids))
            if column in self.columns
        ]
        wanted = [*(column for column, _ in known), *([value] if value else [])]
        for batch in self.file.iter_batches(ROWS_AT_A_TIME, columns=wanted):
            place = np.zeros(batch.num_rows, dtype=np.int64)
            for column, values in known:
                place *= len(values)
                place += pc.index_in(batch[column].cast(values.type), value_set=values).to_numpy(zero_copy_only=False)
            yield place, batch[value] if value else None

    def place(self, cell: int) -> str:
        """The model and doc_id of a cell, for messages."""
        model, document = cell // len(self.epochs) // len(self.ids), cell % len(self.ids)
        return f"model {self.models[model]!r} and doc_id {self.ids[document]!r}"

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.models), len(self.epochs), len(self.ids)


def read_long(path: Path) -> tuple[Matrices, Names]:
    """The matrices of a table. Raises `UsageError` for a pair that stands twice or is missing."""
    table = _Table(path)
    _check_pairs(table)
    columns = [name for name in (*PER_TEXT, *PER_DOCUMENT, "block") if name in table.columns]
    found = {name: _dense(table, name) for name in columns}
    matrices: Matrices = {}
    names: Names = {"models": [str(model) for model in table.models]}
    for kinds, ids in ((PER_TEXT, "texts"), (PER_DOCUMENT, "documents")):
        first = next(iter(kinds))
        if first not in found:
            continue
        here = ~np.isnan(found[first]).all(axis=(0, 1))  # (D,)
        names[ids] = [table.ids[position] for position in np.flatnonzero(here)]
        for name, key in kinds.items():
            if name in found:
                values = found[name] if here.all() else found[name][:, :, here]
                matrices[key] = of_array(f"{path.name}: {name}", _shaped(table, name, values))
    if "block" in found:
        blocks = _same(table, "block", found["block"].reshape(len(table.models), -1).T)
        matrices["blocks"] = of_array(f"{path.name}: block", blocks)
    if len(table.epochs) > 1:
        matrices["epochs"] = of_array(f"{path.name}: epoch", np.array(table.epochs, dtype=np.int64))
    return matrices, names


def _shaped(table: _Table, column: str, values: NDArray[np.float32]) -> NDArray[Any]:
    """(M, E, D) -> the shape and the kind of number that `memo.exchange` says."""
    if column == "n_tokens":
        return _same(table, column, values.reshape(-1, values.shape[2]))
    if column in PER_TEXT:
        return values[:, 0] if len(table.epochs) == 1 else values
    wrong = (values != 0) & (values != 1)  # NaN as well
    if wrong.any():
        model, _, document = np.argwhere(wrong)[0]
        raise UsageError(
            f"{table.path}: {column}: expected true or false for every model of a document, found "
            f"{values[wrong][0]:g} for model {table.models[model]!r} and document number {document}; fill it in"
        )
    if (values != values[:, :1]).any():
        raise UsageError(f"{table.path}: {column}: expected the same at every epoch of a model, found others; mend it")
    return values[:, 0].astype(np.bool_)


def _same(table: _Table, column: str, values: NDArray[np.float32]) -> NDArray[np.int64]:
    """What all rows of a matrix say alike, as whole numbers."""
    if not np.isfinite(values).all() or (values != values[:1]).any():
        what = "model" if column == "block" else "doc_id"
        raise UsageError(f"{table.path}: {column}: expected one whole number for each {what}, found several or none")
    return values[0].astype(np.int64)


def _check_pairs(table: _Table) -> None:
    seen = np.zeros(int(np.prod(table.shape)), dtype=np.bool_)
    rows = 0
    for cells, _ in table.cells():
        seen[cells] = True
        rows += len(cells)
    if rows > np.count_nonzero(seen):
        raise UsageError(f"{table.path}: expected one row per pair, found two of {_double(table)}; leave one out")
    if not seen.all():
        raise UsageError(
            f"{table.path}: expected a row for every pair, found none of {table.place(int(seen.argmin()))} "
            f"({len(seen) - rows:,} are missing); add them"
        )


def _double(table: _Table) -> str:
    seen = np.zeros(int(np.prod(table.shape)), dtype=np.bool_)
    for cells, _ in table.cells():
        values, counts = np.unique(cells, return_counts=True)
        again = values[(counts > 1) | seen[values]]
        if len(again):
            return table.place(int(again[0]))
        seen[cells] = True
    raise AssertionError("no pair stands twice")


def _dense(table: _Table, column: str) -> NDArray[np.float32]:
    """(M, E, D), NaN where the table has nothing."""
    import pyarrow as pa

    values = np.full(int(np.prod(table.shape)), np.nan, dtype=np.float32)
    for cells, numbers in table.cells(column):
        of_texts = column not in PER_DOCUMENT
        fits = pa.types.is_floating(numbers.type) if of_texts else pa.types.is_boolean(numbers.type)
        if not fits and not pa.types.is_integer(numbers.type):
            wanted = "numbers" if of_texts else "booleans, or 0 and 1 as whole numbers"
            raise UsageError(f"{table.path}: {column}: expected {wanted}, found {numbers.type}; convert it")
        whole = numbers.cast(pa.int8()) if pa.types.is_boolean(numbers.type) else numbers
        values[cells] = whole.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    return values.reshape(table.shape)


def write_long(path: Path, matrices: Mapping[str, Matrix], names: Mapping[str, Sequence[str]]) -> None:
    """A row for every model, epoch and identifier, one model after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = names["texts"]
    among = set(texts)
    ids = [*texts, *(doc_id for doc_id in names["documents"] if doc_id not in among)]
    position = {doc_id: index for index, doc_id in enumerate(ids)}
    places = {
        "text": np.arange(len(texts)),
        "document": np.array([position[doc_id] for doc_id in names["documents"]], dtype=np.int64),
    }
    epochs = matrices["epochs"].whole() if "epochs" in matrices else np.ones(1, dtype=np.int64)
    blocks = matrices["blocks"].whole() if "blocks" in matrices else None
    labels = pa.DictionaryArray.from_arrays(pa.array(np.arange(len(ids)), pa.int32()), pa.array(ids, pa.string()))
    writer = None
    try:
        for model, parts in enumerate(_by_model(matrices)):
            for number, epoch in enumerate(epochs):
                columns = {"model": _constant(pa.array([names["models"][model]]), len(ids)), "doc_id": labels}
                if "epochs" in matrices:
                    columns["epoch"] = _constant(pa.array([epoch]), len(ids))
                if blocks is not None:
                    columns["block"] = _constant(pa.array([blocks[model]]), len(ids))
                for column, (role, values) in parts.items():
                    row = values[number] if role == "text" and values.ndim == 2 else values
                    columns[column] = _spread(row, places[role], len(ids))
                table = pa.table(columns)
                writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
                writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _by_model(matrices: Mapping[str, Matrix]) -> Iterator[dict[str, tuple[str, NDArray[Any]]]]:
    """Column -> whether it is about texts or documents, and its row of one model; (E, T), (T,) or (N,)."""
    roles = {"text": PER_TEXT, "document": {**PER_DOCUMENT, "treated": "treated"}}
    columns = [
        (column, role, matrices[key]) for role, keys in roles.items() for column, key in keys.items() if key in matrices
    ]
    models = matrices["losses"].shape[0]
    rows = [repeat(m.whole(), models) if column == "n_tokens" else m.rows() for column, _, m in columns]
    for found in zip(*rows, strict=True):
        yield {column: (role, row) for (column, role, _), row in zip(columns, found, strict=True)}


def _constant(value: "pa.Array", number: int) -> "pa.Array":
    """So many rows of one value."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(number, dtype=np.int8)), value).cast(value.type)


def _spread(row: NDArray[Any], places: NDArray[np.int64], number: int) -> "pa.Array":
    """A row among all identifiers, missing elsewhere."""
    import pyarrow as pa

    values = np.zeros(number, dtype=row.dtype)
    values[places] = row
    missing = np.ones(number, dtype=np.bool_)
    missing[places] = False
    return pa.array(values, mask=missing)
