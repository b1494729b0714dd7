"""Reads every number of a bank once, before anything is written: what cannot be used is refused with its place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memo.errors import UsageError
from memo.exchange import Matrix
from pipelines.bank import Bank
from pipelines.progress import Reporter

LARGEST_LOSS = float(np.finfo(np.float32).max)  # losses are kept as float32


@dataclass(frozen=True)
class Survey:
    """What the masks say. n_in: (N,) models that trained on each document."""

    n_in: NDArray[np.int64]
    share: float  # of all pairs of a model and a document, those in which it was trained on

    def one_sided(self, models: int) -> int:
        """Documents in every model or in none: they have no score."""
        return int(((self.n_in == 0) | (self.n_in == models)).sum())


def survey(bank: Bank, reporter: Reporter) -> Survey:
    """Raises `UsageError` for losses that are NaN, infinite or negative, masks that are not 0 or 1 or all equal."""
    models = len(bank.models)
    with reporter.bar("check", models, "model") as bar:
        n_in = np.zeros(len(bank.documents), dtype=np.int64)
        for row in mask_rows(bank.masks):
            n_in += row
        if "asked" in bank.matrices:
            for _ in mask_rows(bank.matrices["asked"]):
                pass
        for model, row in enumerate(bank.losses.rows()):
            _check_row(bank, "losses", model, row, LARGEST_LOSS, f"a loss from 0 to {LARGEST_LOSS:.2g}")
            bar.update(model + 1)
    found = Survey(n_in, float(n_in.sum() / (models * len(n_in))))
    if found.one_sided(models) == len(n_in):
        raise UsageError(
            f"{bank.masks.name}: expected models that trained on different documents, found the same mask in all "
            f"{models}; without models that left a document out there is nothing to compare"
        )
    _check_correct(bank)
    return found


def mask_rows(matrix: Matrix) -> Iterator[NDArray[np.bool_]]:
    """The rows as booleans; `UsageError` for a whole number that is neither 0 nor 1."""
    for model, row in enumerate(matrix.rows()):
        if row.dtype != np.bool_ and ((row != 0) & (row != 1)).any():
            document = int(np.argmax((row != 0) & (row != 1)))
            raise UsageError(f"{matrix.name}[{model}, {document}]: expected 0 or 1, found {row[document]}; mend it")
        yield row.astype(np.bool_, copy=False)


def _check_correct(bank: Bank) -> None:
    if "accuracy" in bank.matrices:
        for model, row in enumerate(bank.matrices["accuracy"].rows()):
            _check_row(bank, "accuracy", model, row, 1.0, "a share from 0 to 1")
    elif "n_correct" in bank.matrices:
        if bank.n_tokens is None:
            raise UsageError(
                f"{bank.matrices['n_correct'].name}: expected the number of tokens of every text beside it, found "
                "none; add the key `n_tokens`, the column n_tokens of --documents or --texts, or give `accuracy`"
            )
        for model, row in enumerate(bank.matrices["n_correct"].rows()):
            _check_row(bank, "n_correct", model, row, bank.n_tokens, "a number from 0 to n_tokens")


def _check_row(bank: Bank, key: str, model: int, row: NDArray[Any], largest: Any, wanted: str) -> None:
    """row: (T,) or (E, T)."""
    with np.errstate(over="ignore"):  # float16 takes the largest float32 for infinity
        good = (row >= 0) & (row <= largest)  # NaN is neither
    if not good.all():
        place = tuple(int(i) for i in np.argwhere(~good)[0])
        where = ", ".join(map(str, (model, *place)))
        text = bank.texts["doc_id"][place[-1]].as_py()
        raise UsageError(
            f"{bank.matrices[key].name}[{where}]: expected {wanted}, found {row[place]} for model "
            f"{bank.models[model]!r} and text {text!r}; mend it or leave out that model or text"
        )
