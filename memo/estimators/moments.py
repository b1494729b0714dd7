"""Count, mean and sum of squared deviations of both sides of one block of splits: the inner loop of every score.

    scratch = Scratch(rows, width, np.float64)
    sides = scratch.sides(treated, valid)          once per block; losses and accuracies share it
    moments = scratch.moments(losses, sides)       or scratch.shifted(losses, sides, centre)

Every operation takes one column at a time into account and adds rows in order, so a column's result does not depend on
the columns beside it: any cut into blocks of documents gives the same bits. Operations write into buffers that fit a
core's cache and release the interpreter lock, so threads run side by side.

In float64 the centre of each side is its own mean (the corrected two-pass algorithm: Chan, Golub and LeVeque 1983, The
American Statistician 37, 242). In float32, which is twice as fast, it is the mean of the first block of splits that had
losses on that side: as near to all losses as their spread, so that deviations are small, and what they lose is lost
relative to the spread.

Shapes: b splits of one block, D columns; the first axis of 2 is in, out.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats = NDArray[np.float64]
Work = NDArray[np.floating]
Number = TypeVar("Number", bound=np.generic)

ROWS = 32  # splits taken at a time; longer blocks are merged from pieces
# Columns taken at a time. Wide enough that two threads rarely wait for each other between operations, narrow enough for
# the last cache: 400 models of 2,097,152 documents on two cores took 5.0 s of processor with 4080, 4.5 with 8160, 4.2
# with 16320, 4.4 with 32640. No power of two, which would put rows at equal offsets of a page: conflicts in the cache.
WIDTH = 16320


@dataclass(frozen=True)
class Moments:
    """One block. `count` is (2, 1) where it is the same for every column, as in a balanced design, else (2, D)."""

    count: Floats
    mean: Floats  # (2, D); where the count is 0 any finite number
    squares: Floats  # (2, D) sums of squared deviations from the mean

    def merge(self, other: "Moments") -> "Moments":
        """Both together (Chan, Golub and LeVeque 1983): nothing cancels."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        squares = self.squares + other.squares + delta * delta * (self.count * share)
        return Moments(count, self.mean + share * delta, squares)


@dataclass(frozen=True)
class Sides:
    """Which splits of a block are on which side, as masks of all or no bits; views of a scratch's buffers."""

    inside: NDArray[np.signedinteger]  # (b, D) counts, and in
    valid: NDArray[np.signedinteger] | None  # (b, D) counts; None where every split does
    count: Work  # as in Moments


class Scratch:
    """Buffers for blocks of up to `rows` splits and `width` columns. Not for two threads at a time."""

    def __init__(self, rows: int, width: int, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._bits: np.dtype[np.signedinteger] = np.dtype(f"i{self.dtype.itemsize}")
        self._inside, self._valid = np.empty((2, rows * width), dtype=self._bits)
        self._values, self._product = np.empty((2, rows * width), dtype=self.dtype)

    def sides(self, treated: NDArray[np.generic], valid: NDArray[np.generic] | None = None) -> Sides:
        """treated, valid: (b, D), booleans or bytes 0 and 1. Good until the next call."""
        flags, counting, every = treated.view(np.uint8), None, np.full(1, len(treated), dtype=np.uint8)
        if valid is not None:
            of_valid = valid.view(np.uint8)
            flags = flags & of_valid
            counting = _masks(of_valid, self._valid)
            every = np.add.reduce(of_valid, axis=0, dtype=np.uint8)  # at most ROWS
        count_in = np.add.reduce(flags, axis=0, dtype=np.uint8)
        if len(count_in) and count_in.min() == count_in.max() and every.min() == every.max():
            count_in, every = count_in[:1], every[:1]
        count = np.array([count_in, every - count_in], dtype=self.dtype)
        return Sides(_masks(flags, self._inside), counting, count)

    def sums(self, values: NDArray[np.floating], sides: Sides, out: Work | None = None) -> Work:
        """(2, D) of both sides, into `out` where it is given. values: (b, D)."""
        values = values if values.dtype == self.dtype else values.astype(self.dtype)
        if sides.valid is not None:
            values = self._masked(values, sides.valid, self._values)
        return _split(_row_sums(values), _row_sums(self._masked(values, sides.inside, self._product)), out)

    def centre(self, values: NDArray[np.floating], sides: Sides) -> Floats:
        """(2, D) the mean of each side, in the precision of the buffers; of the other side where one is empty."""
        means = self.sums(values, sides) / np.maximum(sides.count, 1)
        return np.where(sides.count > 0, means, means[::-1]).astype(np.float64)

    def shifted(
        self, values: NDArray[np.floating], sides: Sides, centre: Floats, out: tuple[Work, Work] | None = None
    ) -> tuple[Work, Work]:
        """Sums of deviations from the centre, and of their squares: (2, D) each, into `out` where it is given.

        One rounding for each deviation, relative to itself; none where a loss is within a factor of 2 of its centre
        (Sterbenz's lemma).
        """
        y, product = _view(self._values, values.shape), _view(self._product, values.shape)
        high, low = centre.astype(self.dtype)
        chosen = product.view(self._bits)  # the centre of each loss: `high` where the mask is set, else `low`
        np.bitwise_and(sides.inside, high.view(self._bits) ^ low.view(self._bits), out=chosen)
        np.bitwise_xor(chosen, low.view(self._bits), out=chosen)
        np.subtract(values, product, out=y, casting="same_kind")
        if sides.valid is not None:
            self._masked(y, sides.valid, self._values)
        total, total_squares = _row_sums(y), _row_squares(y)
        self._masked(y, sides.inside, self._values)
        to_sums, to_squares = out or (None, None)
        sums = _split(total, _row_sums(y), to_sums)
        return sums, _split(total_squares, _row_squares(y), to_squares)

    def moments(self, values: NDArray[np.floating], sides: Sides) -> Moments:
        """Each side about its own mean. values: (b, D)."""
        centre = self.centre(values, sides)
        sums, squares = self.shifted(values, sides, centre)
        shift = sums / np.maximum(sides.count, 1)
        squares = np.maximum(squares - shift * sums, 0)
        return Moments(sides.count.astype(np.float64), centre + shift, squares.astype(np.float64))

    def _masked(self, values: NDArray[np.floating], mask: NDArray[np.signedinteger], buffer: Work) -> Work:
        """(b, D) the values where the mask is set, else 0, whatever stands there."""
        out = _view(buffer, values.shape)
        np.bitwise_and(values.view(self._bits), mask, out=out.view(self._bits))
        return out


def _view(buffer: NDArray[Number], shape: tuple[int, ...]) -> NDArray[Number]:
    return buffer[: shape[0] * shape[1]].reshape(shape)


def _masks(flags: NDArray[np.uint8], buffer: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    """(b, D) all bits where a flag is 1, none where it is 0."""
    masks = _view(buffer, flags.shape)
    np.copyto(masks, np.negative(flags).view(np.int8))
    return masks


def _row_sums(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """(D,) rows added in order. Of a single column numpy would add them pairwise."""
    if values.shape[1] == 1:
        return np.add.accumulate(values, axis=0)[-1]
    summed: NDArray[np.floating] = np.add.reduce(values, axis=0)
    return summed


def _row_squares(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """(D,) squares of rows added in order, without writing the squares down."""
    if values.shape[1] == 1:
        return _row_sums(values * values)
    summed: NDArray[np.floating] = np.einsum("ij,ij->j", values, values)
    return summed


def _split(total: NDArray[np.floating], inside: NDArray[np.floating], out: Work | None) -> Work:
    """(2, D) the sums in and out. What cancels here is small against the error of the larger side."""
    found: Work = np.empty((2, len(total)), dtype=inside.dtype) if out is None else out
    found[0] = inside
    np.subtract(total, inside, out=found[1])
    return found
