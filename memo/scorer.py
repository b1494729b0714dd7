"""Scores of one block of documents, from blocks of splits that come one after another.

    scorer = Scorer(part)
    for piece in part.pieces:
        scorer.add(piece, losses of its splits, correct next tokens of its splits)
    rows = scorer.rows()

Nothing is kept of a piece but sums, so memory is bounded by the documents of the block, whatever the number of splits.
A column's result does not depend on the block it stands in.

Shapes: M splits, b splits of a piece, B documents of the block, R rows of them, G groups.
"""

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import LARGEST_SINGLE, BadValueError, checked_values
from memo.estimators.moments import ROWS, WIDTH, Moments, Scratch
from memo.estimators.scores import Memorization, memorization_of
from memo.estimators.stratified import Stratified, Totals, settled
from memo.groups import Index

Floats = NDArray[np.float64]


class Sides(Protocol):
    """What a score needs of a contrast."""

    def sides(self, splits: slice, sets: slice | Index) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]: ...


@dataclass(frozen=True)
class Piece:
    """Splits that are read and added together: rows of the losses, all of one block."""

    splits: slice
    block: int


def pieces(splits: int, blocks: Index | None) -> tuple[Piece, ...]:
    """Runs of splits of one block, at most `ROWS` of them. blocks: (M,); None where all are one block."""
    blocks = np.zeros(splits, dtype=np.int64) if blocks is None else blocks
    cuts = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), splits]
    return tuple(
        Piece(slice(start, min(start + ROWS, stop)), int(blocks[first]))
        for first, stop in itertools.pairwise(cuts)
        for start in range(first, stop, ROWS)
    )


@dataclass(frozen=True)
class Part:
    """The rows of a block of documents, and all that scoring them needs."""

    row: slice  # of the rule
    start: int  # first document of the block
    document: Index | None  # (R,) position in the block; None where row r is document r
    sets: slice | Index  # (R,) the set of each row, as `contrast` counts them
    contrast: Sides
    n_tokens: Index  # (R,)
    pieces: tuple[Piece, ...]
    exact: bool  # float64 throughout; else float32 inside a block of splits


@dataclass(frozen=True)
class Rows:
    """Scores of the rows whose documents lie in one block, and their share of the group losses."""

    row: slice
    loss: Memorization
    accuracy_in: Floats
    accuracy_out: Floats
    groups: "GroupLosses | None" = None

    @property
    def memorization_accuracy(self) -> Floats:
        return self.accuracy_in - self.accuracy_out


@dataclass(frozen=True)
class GroupLosses:
    """Losses of groups, summed over the documents of one block."""

    groups: Index  # (G,) groups of two or more
    sums: Floats  # (M, G)


class Scorer:
    """Adds up the pieces of a part. Holds about 150 bytes per row."""

    def __init__(self, part: Part) -> None:
        self.part = part
        number = part.row.stop - part.row.start
        self._tiles = [slice(start, min(start + WIDTH, number)) for start in range(0, number, WIDTH)]
        self._centre, self._seen = np.zeros((2, number)), np.zeros((2, number), dtype=bool)
        self._loss, self._accuracy = Stratified(None if part.exact else self._centre), Stratified()
        largest = max((piece.splits.stop - piece.splits.start for piece in part.pieces), default=0)
        dtype = np.float64 if part.exact else np.float32
        self._scratch = Scratch(largest, min(number, WIDTH), dtype)
        # Of losses, their squares and correct tokens, or moments. Two in turn: a block is closed when the next begins.
        self._sums, self._before = np.empty((2, 3, 2, number), dtype=dtype)

    def add(self, piece: Piece, losses: NDArray[np.floating], correct: NDArray[np.floating]) -> None:
        """losses: (b, B) nats per token; correct: (b, B) right next tokens, NaN throughout where they are not known.

        Raises `BadValueError`, with the row of the split and the document, for numbers that cannot be losses.
        """
        counts = [self._add_tile(piece, tile, losses, correct) for tile in self._tiles]
        if not counts:
            return
        count = counts[0]
        if any(c.shape[1] > 1 or (c != count).any() for c in counts):
            count = np.concatenate(
                [np.broadcast_to(c, (2, t.stop - t.start)) for c, t in zip(counts, self._tiles, strict=True)], axis=1
            )
        first, second, right = self._sums
        if self.part.exact:
            self._loss.add(piece.block, Moments(count.astype(np.float64), *self._sums[:2].astype(np.float64)))
        else:
            self._loss.add_shifted(piece.block, count, first, second)
        self._accuracy.add_shifted(piece.block, count, right, None)
        self._sums, self._before = self._before, self._sums

    def _add_tile(
        self, piece: Piece, tile: slice, losses: NDArray[np.floating], correct: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Sums of some rows, into `_sums`; returns how many splits are on each side."""
        scratch = self._scratch
        treated, valid = self.part.contrast.sides(piece.splits, _within(self.part.sets, tile))
        sides = scratch.sides(treated, valid)
        first, second, right = self._sums[:, :, tile]
        values = self._checked(losses, tile, valid, piece, "loss")
        if self.part.exact:
            moments = scratch.moments(values, sides)
            first[:], second[:] = moments.mean, moments.squares
        else:
            centre, seen = self._centre[:, tile], self._seen[:, tile]
            if not seen.all():
                centre[:], seen[:] = settled(centre, seen, sides.count, scratch.centre(values, sides))
            scratch.shifted(values, sides, centre, (first, second))
        scratch.sums(self._checked(correct, tile, valid, piece, "n_correct"), sides, right)
        return sides.count

    def _checked(
        self, values: NDArray[np.floating], tile: slice, valid: NDArray[np.generic] | None, piece: Piece, name: str
    ) -> NDArray[np.floating]:
        documents = tile if self.part.document is None else self.part.document[tile]
        found = values[:, documents]
        if name == "n_correct" and found.size and np.isnan(found[0, 0]) and np.isnan(found).all():
            return found  # an import that does not know it: NaN goes into the table
        try:
            return checked_values(found, valid, name, np.inf if self.part.exact else LARGEST_SINGLE)
        except BadValueError as error:
            column = tile.start + error.column
            document = column if self.part.document is None else int(self.part.document[column])
            raise BadValueError(name, piece.splits.start + error.row, self.part.start + document, error.found) from None

    def rows(self, groups: GroupLosses | None = None) -> Rows:
        """Of all that was added; `groups` goes along."""
        if not self._tiles:
            loss = accuracy = Totals(*np.zeros((4, 0)), *np.zeros((2, 0), dtype=np.int64))
        else:
            loss, accuracy = self._loss.finish(), self._accuracy.finish()
        return Rows(
            self.part.row,
            memorization_of(loss),
            accuracy.loss_in / self.part.n_tokens,
            accuracy.loss_out / self.part.n_tokens,
            groups,
        )


class GroupSums:
    """Sums losses over the documents of each group that lie in one block."""

    def __init__(self, document: Index, group: Index) -> None:
        """document: (R,) position in the block of each row that is summed; group: (R,)."""
        order = np.argsort(group, kind="stable")
        self._document = document[order]
        self.groups, self._starts = np.unique(group[order], return_index=True)
        self._sums: list[Floats] = []

    def add(self, losses: NDArray[np.floating]) -> None:
        """losses: (b, B)."""
        if len(self.groups):
            values = losses[:, self._document].astype(np.float64)
            self._sums.append(np.add.reduceat(values, self._starts, axis=1))

    def losses(self) -> GroupLosses:
        return GroupLosses(self.groups, np.concatenate(self._sums) if self._sums else np.zeros((0, 0)))


def _within(sets: slice | Index, tile: slice) -> slice | Index:
    return slice(sets.start + tile.start, sets.start + tile.stop) if isinstance(sets, slice) else sets[tile]
