"""A bank of models that were trained elsewhere: its matrices, opened and checked against each other, matched by ids.

bank = open_bank(Sources(losses=Path("bank.npz")))

Only shapes, kinds and identifiers are looked at here; `pipelines.survey` reads the numbers.

Shapes: M models, E evaluations, T texts evaluated, N documents trained on.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memo.errors import UsageError
from memo.exchange import Matrices, Matrix, Names, needed, open_matrices
from pipelines.given_texts import numbered, read_texts, refuse_double, with_ids

if TYPE_CHECKING:
    import pyarrow as pa

Index = NDArray[np.int64]
ONLY_ACCURACY = (
    "where only accuracies were kept, 1 - accuracy will do as `losses`: the score is then accuracy in - accuracy out"
)


@dataclass(frozen=True)
class Sources:
    """What `memo import` was given."""

    losses: Path
    masks: Path | None = None
    correct: Path | None = None
    accuracy: Path | None = None
    documents: Path | None = None
    texts: Path | None = None
    blocks: int | None = None  # of equal size
    block_size: int | None = None

    @property
    def files(self) -> dict[str, Path]:
        named = ("losses", "masks", "correct", "accuracy", "documents", "texts")
        return {name: getattr(self, name) for name in named if getattr(self, name) is not None}


@dataclass(frozen=True)
class Bank:
    """Matrices by key as in `memo.exchange`; texts in the order of the columns of `losses`."""

    matrices: Matrices  # losses, masks, and perhaps asked, n_correct, accuracy
    documents: "pa.Table"  # (N,) doc_id, text, n_tokens, metadata
    texts: "pa.Table"  # (T,) the same
    place: Index | None  # (N,) where each document stands among the texts; None where none, or not all of them do
    models: list[str]
    blocks: tuple[int, ...]  # models in each
    epochs: tuple[int, ...]

    @property
    def losses(self) -> Matrix:
        return self.matrices["losses"]

    @property
    def masks(self) -> Matrix:
        return self.matrices["masks"]

    @property
    def scored(self) -> bool:
        return self.place is not None

    @cached_property
    def order(self) -> Index:
        """Columns of `losses` as a campaign has them: documents first, then the other texts."""
        first = np.zeros(0, dtype=np.int64) if self.place is None else self.place
        others = np.ones(len(self.texts), dtype=np.bool_)
        others[first] = False
        return np.concatenate([first, np.flatnonzero(others)])

    @cached_property
    def n_tokens(self) -> Index | None:
        """(T,) of the texts, where all are known."""
        column = self.texts["n_tokens"]
        return None if column.null_count else column.to_numpy()


def open_bank(sources: Sources) -> Bank:
    """Raises `UsageError`, in one line, for whatever does not fit together."""
    matrices, names = _gather(sources)
    losses, masks = matrices["losses"], matrices["masks"]
    _check_shapes(matrices, losses.shape, masks.shape)
    models = names.get("models") or [f"model-{index:05d}" for index in range(losses.shape[0])]
    _check_number(models, losses.shape[0], "models", losses.name)
    documents, texts, place = _match(sources, matrices, names)
    return Bank(
        matrices=matrices,
        documents=documents,
        texts=texts,
        place=place,
        models=models,
        blocks=_blocks(sources, matrices, len(models)),
        epochs=_epochs(matrices, losses),
    )


def _gather(sources: Sources) -> tuple[Matrices, Names]:
    """All matrices and identifiers; a file of its own goes before a key of the file with the losses."""
    matrices, names = open_matrices(sources.losses, "losses")
    needed(matrices, "losses", sources.losses, ONLY_ACCURACY)
    for role, key in (("masks", "masks"), ("correct", "n_correct"), ("accuracy", "accuracy")):
        path = getattr(sources, role)
        if path is None:
            continue
        found, found_names = open_matrices(path, key)
        matrices[key] = needed(found, key, path)
        if role == "masks":
            matrices.update({name: found[name] for name in ("asked", "blocks") if name in found})
        for name, ids in found_names.items():
            _refuse_other_ids(name, names.setdefault(name, ids), ids, path)
    needed(matrices, "masks", sources.losses, "give the masks in a file of their own with --masks")
    return matrices, names


def _refuse_other_ids(name: str, known: Sequence[str], found: Sequence[str], path: Path) -> None:
    for index, (one, other) in enumerate(itertools.zip_longest(known, found)):
        if one != other:
            raise UsageError(
                f"{path}: {name}: expected the same as beside the losses, in the same order; number {index} is "
                f"{one!r} there and {other!r} here; write both files in one order"
            )


def _check_shapes(matrices: Matrices, losses: tuple[int, ...], masks: tuple[int, ...]) -> None:
    matrix, mask = matrices["losses"], matrices["masks"]
    if len(losses) not in (2, 3):
        raise UsageError(f"{matrix.name}: expected the shape (models, texts), found {losses}; one row per model")
    if len(masks) != 2 or masks[0] != losses[0]:
        raise UsageError(
            f"{mask.name}: expected the shape ({losses[0]}, documents), a row for each model of the losses {losses}, "
            f"found {masks}; is one of them transposed?"
        )
    if losses[0] < 2:
        raise UsageError(f"{matrix.name}: expected at least 2 models to compare, found {losses[0]}")
    if not masks[1] or not losses[-1]:
        empty = mask if not masks[1] else matrix
        raise UsageError(f"{empty.name}: expected at least one document and one text, found the shape {empty.shape}")
    wanted = {"losses": ("fiu", losses), "n_correct": ("fiu", losses), "accuracy": ("fbiu", losses)}
    for key, (kinds, shape) in {**wanted, "masks": ("biu", masks), "asked": ("biu", masks)}.items():
        if key not in matrices:
            continue
        found = matrices[key]
        if found.shape != shape:
            raise UsageError(f"{found.name}: expected the shape {shape}, found {found.shape}; one row per model")
        if found.dtype.kind not in kinds:
            what = "booleans, or 0 and 1 as whole numbers" if "f" not in kinds else "numbers"
            raise UsageError(f"{found.name}: expected {what}, found {found.dtype}; convert it")


def _check_number(ids: Sequence[str], number: int, what: str, where: str) -> None:
    if len(ids) != number:
        raise UsageError(f"{where}: expected {number} {what}, as the matrix has, found {len(ids)} names of {what}")
    refuse_double(ids, f"{where}: names of {what}")


def _match(sources: Sources, matrices: Matrices, names: Names) -> "tuple[pa.Table, pa.Table, Index | None]":
    """Documents, texts, and where the documents stand among the texts."""
    losses, masks = matrices["losses"], matrices["masks"]
    count = {"documents": masks.shape[1], "texts": losses.shape[-1]}
    table = {
        role: _table(getattr(sources, role), names.get(role), count[role], role, matrix.name)
        for role, matrix in (("documents", masks), ("texts", losses))
    }
    documents, texts = table["documents"], table["texts"]
    if count["documents"] == count["texts"] and (documents is None or texts is None):
        given = texts if documents is None else documents
        documents = texts = numbered("d", count["documents"]) if given is None else given
    # Made-up names say nothing: they match no other ones.
    known = documents is not None
    documents = numbered("d", count["documents"]) if documents is None else documents
    texts = numbered("t", count["texts"]) if texts is None else texts
    place = _place(documents, texts) if known else None
    if "n_tokens" in matrices:
        texts = _with_tokens(texts, matrices["n_tokens"])
    if place is not None:
        documents, texts = _shared(documents, texts, place)
    return documents, texts, place


def _table(path: Path | None, ids: list[str] | None, number: int, what: str, where: str) -> "pa.Table | None":
    """What is known of documents or texts; rows in the order of the matrix."""
    if ids is not None:
        _check_number(ids, number, what, where)
    if path is None:
        return None if ids is None else with_ids(ids)
    table = read_texts(path)
    if ids is None:
        if len(table) != number:
            raise UsageError(
                f"{path}: expected {number} rows, one for each of the {what} of {where}, found {len(table)}"
            )
        return table
    position = {doc_id: row for row, doc_id in enumerate(table["doc_id"].to_pylist())}
    missing = [doc_id for doc_id in ids if doc_id not in position]
    if missing:
        raise UsageError(
            f"{path}: expected all {what} of {where}, found {len(missing)} of {number} missing, the first "
            f"{missing[0]!r}; add them"
        )
    return table.take([position[doc_id] for doc_id in ids])


def _place(documents: "pa.Table", texts: "pa.Table") -> Index | None:
    position = {doc_id: row for row, doc_id in enumerate(texts["doc_id"].to_pylist())}
    place = np.array([position.get(doc_id, -1) for doc_id in documents["doc_id"].to_pylist()], dtype=np.int64)
    return place if (place >= 0).all() else None


def _with_tokens(texts: "pa.Table", given: Matrix) -> "pa.Table":
    import pyarrow as pa

    if given.shape != (len(texts),) or given.dtype.kind not in "iu":
        raise UsageError(
            f"{given.name}: expected {len(texts)} whole numbers, one per text, found {given.dtype} {given.shape}"
        )
    counts = given.whole().astype(np.int64)
    if (counts < 1).any():
        row = int(np.argmax(counts < 1))
        raise UsageError(f"{given.name}[{row}]: expected at least 1 token, found {counts[row]}; leave the text out")
    column = texts.column_names.index("n_tokens")
    return texts.set_column(column, "n_tokens", pa.array(counts, pa.int64()))


def _shared(documents: "pa.Table", texts: "pa.Table", place: Index) -> "tuple[pa.Table, pa.Table]":
    """A text that is a document is known as well as either of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    here = texts.take(pa.array(place))
    inverse = np.full(len(texts), -1, dtype=np.int64)
    inverse[place] = np.arange(len(place))
    there = documents.take(pa.array(inverse, mask=inverse < 0))
    for name in ("text", "n_tokens"):
        column = pc.coalesce(documents[name], here[name])
        documents = documents.set_column(documents.column_names.index(name), name, column)
        texts = texts.set_column(texts.column_names.index(name), name, pc.coalesce(texts[name], there[name]))
    return documents, texts


def _blocks(sources: Sources, matrices: Matrices, models: int) -> tuple[int, ...]:
    """Models in each block."""
    if sources.blocks is not None and sources.block_size is not None:
        raise UsageError("expected --blocks or --block-size, found both")
    if sources.blocks is not None or sources.block_size is not None:
        number = sources.blocks or models / (sources.block_size or 1)
        if models % number or number != int(number):
            option = "--blocks" if sources.blocks is not None else "--block-size"
            raise UsageError(f"{option}: expected blocks of equal size, found {models} models; name a divisor of it")
        return (models // int(number),) * int(number)
    if "blocks" not in matrices:
        return (models,)
    given = matrices["blocks"]
    if given.shape != (models,):
        raise UsageError(f"{given.name}: expected one block for each of {models} models, found the shape {given.shape}")
    runs = [(label, len(list(run))) for label, run in itertools.groupby(given.whole().tolist())]
    refuse_double([str(label) for label, _ in runs], f"{given.name}: the models of a block side by side")
    return tuple(size for _, size in runs)


def _epochs(matrices: Matrices, losses: Matrix) -> tuple[int, ...]:
    number = losses.shape[1] if len(losses.shape) == 3 else 1
    found: list[Any] = matrices["epochs"].whole().tolist() if "epochs" in matrices else list(range(1, number + 1))
    rising = all(isinstance(e, int) and e >= 1 for e in found) and sorted(set(found)) == found
    if len(found) != number or not rising or not number:
        raise UsageError(f"{losses.name}: expected {number} rising whole epochs, one per evaluation, found {found}")
    return tuple(found)
