"""What an estimator refuses, by name: a number that no average may swallow.

Shapes: M models, D columns.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
UNSIGNED = {4: np.uint32, 8: np.uint64}


LARGEST_SINGLE = 1e15  # of arithmetic in float32, whose squares end at 3e38


class BadValueError(ValueError):
    """A value that cannot be a loss. `row` and `column` say where, for callers that know their names."""

    def __init__(self, name: str, row: int, column: int, found: float) -> None:
        limit = f" and below {LARGEST_SINGLE:g}" if LARGEST_SINGLE <= found < np.inf else ""
        super().__init__(
            f"{name}[{row}, {column}]: expected a finite number that is not negative{limit}, found {found}"
        )
        self.name, self.row, self.column, self.found = name, row, column, found

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.row, self.column, self.found)  # it may come from another process


def as_floats(values: Any, name: str) -> NDArray[np.floating]:
    """An array of float32 or float64, which it stays where it is one; raises `ValueError` for what are no numbers."""
    found = np.asarray(values)
    if found.dtype.kind not in "buif":
        raise ValueError(f"{name}: expected numbers, found {found.dtype}")
    return found if found.dtype in (np.float32, np.float64) else found.astype(np.float64)


def checked_values(
    values: NDArray[np.floating], valid: NDArray[np.generic] | None, name: str, below: float = np.inf
) -> NDArray[np.floating]:
    """The values, with 0 where one does not count and is no loss; raises `BadValueError` where one counts.

    One pass: read as unsigned integers, numbers that are not negative rise with them, up to infinity and then NaN.
    """
    bits = values.view(UNSIGNED[values.dtype.itemsize])
    if not values.size or bits.max() < np.array(below, dtype=values.dtype).view(bits.dtype):
        return values
    bad = ~((values >= 0) & (values < below))  # NaN is neither
    counting = bad if valid is None else bad & valid.astype(bool)
    if counting.any():
        row, column = np.argwhere(counting)[0]
        raise BadValueError(name, int(row), int(column), float(values[row, column]))
    return np.where(bad, values.dtype.type(0), values)


def checked_shapes(
    losses: NDArray[np.floating], included: Bools, valid: Bools | None, blocks: NDArray[np.integer] | None
) -> tuple[NDArray[np.floating], Bools, Bools | None, Ints]:
    """losses, included, valid (M, D) and blocks (M,), one block by default."""
    values = as_floats(losses, "losses")
    included = np.asarray(included)
    if values.ndim != 2 or included.shape != values.shape:
        raise ValueError(f"expected losses and included of one shape (M, D), found {values.shape} and {included.shape}")
    if included.dtype != np.bool_:
        raise ValueError(f"included: expected booleans, found {included.dtype}")
    if valid is not None:
        valid = np.asarray(valid)
        if valid.shape != values.shape or valid.dtype != np.bool_:
            raise ValueError(f"valid: expected booleans of shape {values.shape}, found {valid.dtype} {valid.shape}")
    block_of: Ints = np.zeros(len(values), dtype=np.int64) if blocks is None else np.asarray(blocks, dtype=np.int64)
    if block_of.shape != values.shape[:1]:
        raise ValueError(f"blocks: expected one per model, shape {values.shape[:1]}, found {block_of.shape}")
    return values, included, valid, block_of


def check_contrast(included: Bools) -> None:
    """Refuses a matrix that cannot tell in from out for any document: one model, or the same mask for all.

    A single column that is never in or never out is no error of the matrix: its score is NaN, with the reason.
    """
    models, columns = included.shape
    if models < 2:
        raise ValueError(f"expected at least 2 models, found {models}: one model cannot be on both sides")
    if columns > 1 and (included == included[0]).all():
        raise ValueError(f"all {models} masks are equal: no document is in one model and out of another")
