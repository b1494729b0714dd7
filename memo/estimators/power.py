"""What a campaign will resolve, before it is trained: standard errors from the noise of a pilot.

    noise = measure_noise(losses, treated, valid, blocks)        8 splits or more of the same corpus, model and design
    predict(noise, n_in=16, n_out=16, blocks=2)                  .se .degrees .gap
    splits_for_se(noise, 0.05, block=16)                         splits, in whole blocks

The noise of a side is the standard deviation of a document's loss over the models of that side, as root mean square
over documents. It comes from real splits, so it contains the noise of training and of *which other documents* were in
the split, and no assumption about either. For n_in and n_out splits a side,

    SE^2 = noise_in^2 / n_in + noise_out^2 / n_out

is the mean square of the standard errors of the finished campaign, because both are means of the same variances.
How far off: simulated (100 documents, a third of the variance from composition, 500 campaigns), the root mean square
for 64 splits predicted from 8 others was off by 5 %, at most 17 %. Noise that all documents of a model share (a model
that is worse at everything) is seen 8 times only, however many documents there are: where it is a tenth of the
variance the error is 6 %, at most 18 %; where it is a third, 12 %, and above 20 % for 9 pilots of 100 (for 1 of 100
with 16 splits). In a campaign of 224 tiny GPT-2 models it was under a tenth.

Its gap is that of a document whose noise is this root mean square. Where documents differ in noise, the median document
does better, by 15 % where noise is lognormal with a deviation of 0.4: `median_ratio` says how much.

**Blocks with one split on a side**, such as pairs of opposite splits, have no variance within. Their differences are
the sample, as in `memorization`, and the noise is what these differences show; it includes that two opposite splits
differ by twice the composition. So a pilot in pairs predicts a campaign in pairs, and no other.

**Ladders.** A unit's coin decides it in a share of the splits, and its pilot is that of its own rung: whole families
change the composition more than single documents do. `predict` takes the expected splits a side of every unit.

**Stopping when it is precise enough.** A rule that looks after every block and stops once the median standard error is
below a target stops a little early: errors that are too small by chance end the campaign. Simulated, for targets that
take 14 to 70 models, 95 % intervals at the stop cover 95 % where the median is over 200 documents, as at a fixed
number of models; and 93.4 to 94.5 % where the rule looks at one document alone and blocks have 8 or 16 splits, 92 to
95 % with blocks of 4. Scores are not biased by it (under 0.02 standard errors). So: many documents, blocks of 8 or
more. A rule that looks at scores or p-values ("stop when it is significant") is another matter, and is not offered.

Shapes: M models, D columns (documents, or groups of them), U units, K blocks.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import checked_shapes, checked_values
from memo.estimators.extrapolation import models_for, resolvable_gap
from memo.estimators.scores import memorization_of
from memo.estimators.sums import sums

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MINIMUM_PILOT = 8  # splits: 3 degrees of freedom on either side of every document
COLUMNS_AT_A_TIME = 20_000


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a document's loss over models, nats per token, root mean square over documents."""

    of_in: float  # models that trained on it
    of_out: float  # models that did not
    splits: int  # of the pilot
    documents: int  # that had two splits or more on both sides
    median_ratio: float = 1.0  # noise of the median document / these, freed of the scatter of few splits

    @property
    def nats(self) -> float:
        """One number for both sides."""
        return math.sqrt((self.of_in**2 + self.of_out**2) / 2)


@dataclass(frozen=True)
class Prediction:
    """Of scores; each (U,), NaN where a side expects fewer than two splits. Nats per token."""

    se: Floats  # root mean square over documents
    degrees: Floats
    gap: Floats  # smallest true score whose 95 % interval excludes 0 with power 0.8


def measure_noise(
    losses: NDArray[np.floating],
    treated: Bools,
    valid: Bools | None = None,
    blocks: NDArray[np.integer] | None = None,
    exclude: Bools | None = None,
) -> Noise:
    """Noise of a pilot; arguments as for `memorization`. exclude: (D,) True for documents that do not count.

    Variances are taken within side and block, as the standard errors are, or from the differences of blocks with one
    split on a side. Raises ValueError for a pilot of fewer than 8 splits, or where no document has two on both sides,
    and `BadValueError` for losses that are NaN, infinite or negative where they count.
    """
    losses, treated, valid, block_of = checked_shapes(losses, treated, valid, blocks)
    losses = checked_values(losses, valid, "losses")
    splits, number = losses.shape
    if splits < MINIMUM_PILOT:
        raise ValueError(f"a pilot needs at least {MINIMUM_PILOT} splits to show its noise, found {splits}")
    kept = np.arange(number) if exclude is None else np.flatnonzero(~np.asarray(exclude, dtype=np.bool_))
    found = [np.zeros((3, 0))]
    for start in range(0, len(kept), COLUMNS_AT_A_TIME):
        columns = kept[start : start + COLUMNS_AT_A_TIME]
        counts = np.ones((splits, len(columns)), dtype=np.bool_) if valid is None else valid[:, columns]
        values = np.where(counts, losses[:, columns], 0).astype(np.float64)
        found.append(_variances(values, treated[:, columns], counts, block_of))
    measured = np.concatenate(found, axis=1)
    of_in, of_out, degrees = measured[:, np.isfinite(measured).all(axis=0)]
    if not len(degrees):
        raise ValueError("the pilot shows no noise: no document has two splits on both sides; add splits")
    mean_in, mean_out = float(of_in.mean()), float(of_out.mean())
    middle = float(np.median((of_in + of_out) / 2)) / _median_of_variances(float(np.median(degrees)))
    ratio = math.sqrt(2 * middle / (mean_in + mean_out)) if mean_in + mean_out else 1.0
    return Noise(math.sqrt(mean_in), math.sqrt(mean_out), splits, len(degrees), ratio)


def _variances(values: Floats, treated: Bools, counts: Bools, block_of: NDArray[np.integer]) -> Floats:
    """(3, D) variances in and out, and the degrees of freedom of both together; NaN where there is none."""
    (inside, degrees_in), (outside, degrees_out) = (
        _within(values, side & counts, block_of) for side in (treated, ~treated)
    )
    found = np.stack([inside, outside, degrees_in + degrees_out])
    alone = np.flatnonzero(~np.isfinite(found).all(axis=0))
    if len(alone):
        # Blocks with one split on a side: what `memorization` takes for the error, as the variance of one loss.
        scored = memorization_of(sums(values[:, alone], treated[:, alone], counts[:, alone], block_of))
        with np.errstate(divide="ignore"):
            variance = scored.se**2 / (1 / scored.n_in + 1 / scored.n_out)
        found[:, alone] = variance, variance, scored.degrees
    return found


def _median_of_variances(degrees: float) -> float:
    """The median of sample variances with so many degrees of freedom, for a true variance of 1."""
    from scipy import special

    return float(2 * special.gammaincinv(degrees / 2, 0.5) / degrees)


def _within(values: Floats, member: Bools, block_of: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """(D,) variance of one side within blocks, and its degrees; NaN without a block that has two splits on the side."""
    squares, degrees = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for block in np.unique(block_of):
        here, some = member[block_of == block], values[block_of == block]
        count = here.sum(axis=0)
        mean = np.where(here, some, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares += (np.where(here, some - mean, 0.0) ** 2).sum(axis=0)
        degrees += np.maximum(count - 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(degrees > 0, squares / degrees, np.nan), degrees


def standard_error(noise: Noise, n_in: float | Floats, n_out: float | Floats) -> Floats:
    """Of a score from so many splits a side, nats per token; NaN where a side has none."""
    inside, outside = np.asarray(n_in, dtype=np.float64), np.asarray(n_out, dtype=np.float64)
    with np.errstate(divide="ignore"):
        se: Floats = np.sqrt(noise.of_in**2 / inside + noise.of_out**2 / outside)
    return np.where((inside > 0) & (outside > 0), se, np.nan)


def predict(noise: Noise, n_in: float | Floats, n_out: float | Floats, blocks: int = 1) -> Prediction:
    """Standard error and resolvable gap for expected splits a side, (U,) or numbers.

    Each block costs a side one degree of freedom, its mean, and two sides are joined by Satterthwaite (1946). Where all
    blocks have the same numbers, one split on some side, their differences are the sample, with one degree less than
    blocks; where they have fewer than two a side otherwise, all splits are taken as one block. As in `memorization`.
    """
    inside, outside = (np.asarray(n, dtype=np.float64) for n in (n_in, n_out))
    least = np.minimum(inside, outside)
    whole = (np.abs(inside / blocks - np.rint(inside / blocks)) < 1e-9) & (
        np.abs(outside / blocks - np.rint(outside / blocks)) < 1e-9
    )
    paired = whole & (least >= blocks) & (least < 2 * blocks) & (blocks > 1)
    strata = np.where(least >= 2 * blocks, blocks, 1)
    se = standard_error(noise, inside, outside)
    usable = least >= 2
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [(s**2 / n) ** 2 / (n - strata) for s, n in ((noise.of_in, inside), (noise.of_out, outside))]
        degrees = np.where(usable, np.where(paired, blocks - 1.0, se**4 / (parts[0] + parts[1])), np.nan)
    se = np.where(usable, se, np.nan)
    return Prediction(se, degrees, resolvable_gap(se, degrees))


def effective_splits(splits: int, share: float) -> float:
    """Splits on a side where each split is on it by a coin of its own: 1 / E[1 / n], n binomial, n >= 2.

    A standard error goes with 1 / n, and its mean is larger than 1 / E[n]: 16 coins of 0.25 give 4 splits and are worth
    3.6. For `bernoulli`; a balanced design has share x splits.
    """
    from scipy.stats import binom

    numbers = np.arange(2, splits + 1)
    weights = binom.pmf(numbers, splits, share)
    return float(weights.sum() / (weights / numbers).sum()) if splits >= 2 else math.nan


def splits_for_se(noise: Noise, target_se: float, share: float = 1.0, include: float = 0.5, block: int = 1) -> int:
    """Splits, in whole blocks, for this standard error.

    share: of the splits, those in which the unit's own coin decides it (below 1 on a ladder); include: of these, those
    that take it in.
    """
    if not target_se > 0 or not 0 < share <= 1 or not 0 < include < 1:
        raise ValueError(f"expected a positive standard error and shares, found {target_se}, {share}, {include}")
    needed = (noise.of_in**2 / include + noise.of_out**2 / (1 - include)) / (share * target_se**2)
    at_least = 2 / (share * min(include, 1 - include))  # two splits a side, or there is no standard error
    return _whole_blocks(max(needed, at_least), block)


def splits_for_reliability(reliability: float, models: int, wanted: float, block: int = 1) -> int | None:
    """Splits, in whole blocks, for this reliability where `models` have `reliability`; None where none would do."""
    needed = models_for(reliability, models, wanted)
    return None if needed is None else _whole_blocks(needed, block)


def _whole_blocks(splits: float, block: int) -> int:
    return block * math.ceil(splits / block - 1e-9)
