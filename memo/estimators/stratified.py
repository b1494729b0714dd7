"""From the moments of every block to scores and their standard errors, one block at a time.

With K blocks, and s2, n the variance and number of losses on one side of one block,

    SE^2 = K^-2 * sum over blocks of (s2_in / n_in + s2_out / n_out)
    degrees of freedom = SE^4 / (V_in^2 / v_in + V_out^2 / v_out)

with V_in, V_out the two sides' parts of SE^2 (Satterthwaite 1946, Biometrics Bulletin 2, 110). Blocks are drawn alike,
so a side has one variance, estimated by all of its blocks, and its part of SE^2 has

    v = (sum of 1 / n)^2 / (sum of 1 / (n^2 (n - 1)))

degrees, K (n - 1) for equal counts. (With a term of its own for every block the formula takes the chance differences
of their variances for real ones: 2 splits a side and block would get 4 degrees of 6, and cover 98 % instead of 95 %.)

A unit that lacks two splits on a side of some block has no variance there. Where its blocks are alike (one split on a
side of each; blocks without any split of the unit apart) their K differences are the sample, with K - 1 degrees: a
block that has more of another document on one side has less on the other, which a variance over all splits does not see
(with one split a side it is a quarter too small, and intervals cover 91 %). Of pairs of opposite splits, each a block,
this is the paired t test. Any other such unit is not balanced by block; all its splits are taken as one block, and the
formula is Welch's t test.

Shapes: D columns; the first axis of 2 is in, out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.estimators.moments import Moments

Floats = NDArray[np.float64]
Work = NDArray[np.floating]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
MINIMUM_FOR_ERROR = 2


@dataclass(frozen=True)
class Totals:
    """What a score is made of: (D,) each. NaN where a side is empty, `se` also where one has fewer than 2 splits."""

    loss_in: Floats
    loss_out: Floats
    se: Floats
    degrees: Floats
    n_in: Ints
    n_out: Ints


class Stratified:
    """Adds up blocks of splits, in any number of pieces as long as the pieces of a block follow one another.

    Besides the sums over blocks it keeps those of all splits as one block, for units that are not balanced. All are
    about a centre that is fixed for each side by the first block that has losses there, so they are small, and sums
    that come in float32 are kept so.
    """

    def __init__(self, centre: Floats | None = None) -> None:
        """centre: (2, D), where sums about it are to be added. It may change on a side that has no losses yet."""
        self.centre: Floats = np.zeros((2, 1)) if centre is None else centre
        self._open: int | None = None
        self._closed: set[int] = set()  # and the open one
        self._moments: Moments | None = None  # of the open block, or
        self._shifted: tuple[Work, Work, Work | None] | None = None  # its count, sums and squares
        self._seen: Bools = np.zeros((2, 1), dtype=bool)
        self._blocks = 0
        self._balanced: Bools | np.bool_ = np.True_
        self._squared = True  # squares came with all sums
        zeros: Work = np.zeros((9, 2, 1), dtype=np.float32)  # they take the precision of what is added
        self._count, self._sums, self._squares, self._means = zeros[:4]
        self._variance, self._reciprocals, self._spread = zeros[4:7]
        self._gap, self._gap_squares = zeros[7:, 0]  # mean over blocks, and sum of squares about it
        self._paired: Floats = np.zeros(1)  # blocks that have the unit
        self._first_count: Work = np.zeros((2, 1))  # in the first block that has the unit
        self._alike: Bools | np.bool_ = np.True_

    def add(self, block: int, moments: Moments) -> None:
        """Moments of a piece of a block, each about its own mean."""
        self._begin(block)
        self._moments = moments if self._moments is None else self._moments.merge(moments)

    def add_shifted(self, block: int, count: Work, sums: Work, squares: Work | None) -> None:
        """The same as sums about `centre`, of deviations and of their squares; without squares for means alone."""
        self._begin(block)
        if self._shifted is not None:
            before = self._shifted
            count, sums = count + before[0], sums + before[1]
            squares = None if squares is None or before[2] is None else squares + before[2]
        self._shifted = (count, sums, squares)

    def _begin(self, block: int) -> None:
        if self._open != block:
            self._close()
            if block in self._closed:
                raise ValueError(f"block {block}: expected its pieces one after the other, found another in between")
            self._closed.add(block)
            self._open = block

    def _close(self) -> None:
        """Takes the finished block into the sums."""
        if self._moments is not None:
            count, mean, within = self._moments.count, self._moments.mean, self._moments.squares
            self.centre, self._seen = settled(self.centre, self._seen, count, mean)
            delta = mean - self.centre
            sums = count * delta
            self._take(count, sums, within + sums * delta, within)
        elif self._shifted is not None:
            self._take(*self._shifted, None)
        self._moments = self._shifted = None

    def _take(self, count: Work, sums: Work, squares: Work | None, within: Work | None) -> None:
        share = 1 / np.maximum(count, 1)
        means = sums * share
        self._blocks += 1
        self._count = _plus(self._count, count)
        self._sums = _plus(self._sums, sums)
        self._balanced = self._balanced & (count >= MINIMUM_FOR_ERROR).all(axis=0)
        if squares is None:
            self._squared = False
        else:
            self._squares = _plus(self._squares, squares)
            terms = means * sums
            np.subtract(squares if within is None else within, terms if within is None else 0, out=terms)
            spare = 1 / np.maximum(count - 1, 1)
            terms *= share * spare  # variances of the means
            self._variance = _plus(self._variance, terms)
            self._reciprocals = _plus(self._reciprocals, share)
            self._spread = _plus(self._spread, share * share * spare)
        self._pair(count, means)
        self._means = _plus(self._means, means)

    def _pair(self, count: Work, means: Work) -> None:
        """Takes the difference of the block's means for units whose blocks are alike and have no variance."""
        if (self._first_count >= MINIMUM_FOR_ERROR).all():
            return
        self._first_count = first = np.where(self._first_count.any(axis=0), self._first_count, count)
        if (first >= MINIMUM_FOR_ERROR).all():  # none of them will be taken by differences
            return
        there = (count > 0).any(axis=0)
        self._alike = self._alike & (((count == first) & (count > 0)).all(axis=0) | ~there)
        self._paired = self._paired + there
        # Welford's running mean and squares; the centre drops out.
        step = np.where(there, means[1] - means[0] - self._gap, 0.0)
        self._gap = self._gap + step / np.maximum(self._paired, 1)
        self._gap_squares = self._gap_squares + step * np.where(there, means[1] - means[0] - self._gap, 0.0)

    def finish(self) -> Totals:
        """The totals of all that was added. Without squares `se` and `degrees` are NaN."""
        self._close()
        if not self._blocks:
            raise ValueError("expected at least one block of splits, found none")
        means = self.centre + self._means.astype(np.float64) / self._blocks
        columns = means.shape[1]
        n_in, n_out = np.broadcast_to(self._count, means.shape).astype(np.int64)
        variance, degrees = np.full((2, columns), np.nan)
        if self._squared:
            variance, degrees = self._of_blocks()
        alone = ~np.broadcast_to(self._balanced, columns)
        if alone.any():
            of_all = self._of_one_block()
            means = np.where(alone, of_all[0], means)
            if self._squared:
                variance, degrees = np.where(alone, of_all[1:], (variance, degrees))
                variance, degrees = np.where(alone & self._is_paired, self._of_pairs(), (variance, degrees))
        return Totals(means[0], means[1], np.sqrt(variance), degrees, n_in, n_out)

    def _of_blocks(self) -> tuple[Floats, Floats]:
        """Variance and degrees of freedom, (D,), of units that have two splits on both sides of every block."""
        with np.errstate(invalid="ignore", divide="ignore"):  # of the others
            spread = self._reciprocals.astype(np.float64) ** 2 / self._spread
        return _satterthwaite(self._variance.astype(np.float64) / float(self._blocks) ** 2, spread)

    @property
    def _is_paired(self) -> Bools:
        """(D,) True where the differences of blocks are the sample."""
        narrow = self._first_count.min(axis=0) < MINIMUM_FOR_ERROR
        paired: Bools = narrow & self._alike & (self._paired >= MINIMUM_FOR_ERROR)
        return paired

    def _of_pairs(self) -> tuple[Floats, Floats]:
        """Variance and degrees of freedom, (D,), from the differences of blocks."""
        spare = np.maximum(self._paired - 1.0, 1.0)
        variance = self._gap_squares.astype(np.float64) / spare / np.maximum(self._paired, 1)
        return variance, np.broadcast_to(spare, variance.shape)

    def _of_one_block(self) -> tuple[Floats, Floats, Floats]:
        """Means (2, D), variance and degrees of freedom (D,) of all splits without regard to blocks."""
        count, sums, squares = (part.astype(np.float64) for part in (self._count, self._sums, self._squares))
        some = np.where(count > 0, count, np.nan)
        spare = np.where(count >= MINIMUM_FOR_ERROR, count - 1, np.nan)
        shift = sums / some
        terms = np.maximum(squares - shift * sums, 0.0) / (spare * some)
        return self.centre + shift, *_satterthwaite(terms, spare)


def _plus(total: Work, part: Work) -> Work:
    """The sum, in the memory of the total where it has the shape: new memory for every block costs more than adding."""
    if total.shape == part.shape and total.dtype == part.dtype:
        return np.add(total, part, out=total)
    return total + part


def settled(centre: Floats, seen: Bools, count: Work, mean: Floats) -> tuple[Floats, Bools]:
    """The centre, (2, D), with the mean on each side that has its first losses; and which sides have had losses."""
    first = (~seen & (count > 0)) | ~seen.any(axis=0)
    return np.where(first, mean, centre), seen | (count > 0)


def _satterthwaite(variances: Floats, degrees: Floats) -> tuple[Floats, Floats]:
    """The variance of a difference and its degrees of freedom, from those of both sides (2, D).

    NaN degrees where no loss has any spread.
    """
    variances = np.maximum(variances, 0.0)
    variance = variances[0] + variances[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return variance, variance**2 / (variances**2 / degrees).sum(axis=0)
