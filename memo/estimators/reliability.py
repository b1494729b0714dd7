"""Enough models? How well a campaign's ranking of documents would agree with another campaign's, and what it resolves.

    found = diagnose(losses, treated, valid, blocks, exclude=planted)
    found.reliability, found.models_for_target, found.resolvable_gap

**Split halves.** The models are cut into two halves, each half gives scores of its own, and Spearman's rank correlation
of the two says how far h models agree with h others: the reliability of a campaign of h models. Halves are made of
whole blocks where that leaves two blocks or more a half, because whole blocks are independent and balanced as a
campaign is; else of equally many splits of every block. Such halves are not balanced document by document, and what
one half has too much of, the other lacks: they understate the agreement a little.

**More models.** With k times the models, for scores that are a true value plus independent noise,

    r(k) = k r / (1 + (k - 1) r)                                             (Spearman 1910, Brown 1910)

(C. Spearman, Correlation calculated from faulty data, and W. Brown, Some experimental results in the correlation of
mental abilities, British Journal of Psychology 3, 271-295 and 296-322.) It is a theorem for the product-moment
correlation; memo applies it to ranks, because scores are skewed. Simulated (300 documents, campaigns of 32, 64 and 128
models, 60 of each), what it predicts for all models and for twice as many is within 0.005 of the agreement of two such
campaigns, for normal true scores and for lognormal ones whose noise grows with them. (A single prediction was off by
0.02 at 32 models, 0.01 at 128.) Where half of the true scores are exactly 0 it is too high, by 0.04 for all models and
0.08 for twice as many, because no number of models puts equal scores in order. So the prediction is held against what
was measured: `prediction_error` is how much too high it was from the smallest halves to the largest (there +0.05;
without ties -0.02). `tests/memo/test_reliability.py` simulates it again.

The reliability is the agreement of two campaigns. The correlation with the truth is its square root, and larger.

**What can be resolved.** The smallest true score whose interval excludes 0 with the wanted power, at standard error s
and v degrees of freedom, is d s, where d is the noncentrality at which Student's t with v degrees exceeds its critical
value with that probability; 2.8 s for many degrees.

Cost: at most 20,000 documents, drawn at random, are looked at; memory is (models x these) and no more.

Shapes: M models, D columns (documents), D' columns looked at, H halvings.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memo import seeding
from memo.estimators.extrapolation import models_for, rank_correlation, resolvable_gap, spearman_brown
from memo.estimators.scores import memorization

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

SAMPLE = 20_000  # documents: the error of a rank correlation over them is under 0.01
HALVINGS = 50
COUNTS = 4  # sizes of halves at which the agreement is measured
SMALLEST_HALF = 4  # models; below, most documents lack a side in one half
WHOLE_BLOCKS = 2  # that a half needs to be made of whole blocks
COLUMNS_AT_A_TIME = 2_000
TARGET = 0.9


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of the scores of two halves."""

    models: int  # of each half
    mean: float  # over the halvings
    sd: float  # over the halvings, which share their models: a spread, not a standard error
    halvings: int  # that gave a correlation
    whole_blocks: bool  # halves are whole blocks; else as many splits of each block
    documents_left_out: float  # mean number of documents without a score in one half


@dataclass(frozen=True)
class Diagnostics:
    """Whether there are enough models. NaN where something could not be measured, None where no number would do."""

    models: int
    agreement: tuple[Agreement, ...]  # from small halves to large
    reliability: float  # of all models: Spearman-Brown from the largest halves
    reliability_2x: float  # of twice and four times the models, predicted
    reliability_4x: float
    prediction_error: float  # Spearman-Brown from the smallest halves to the largest, less what was measured there
    target: float  # a wanted reliability
    models_for_target: int | None  # models it takes, predicted
    median_se: float  # of a score, nats per token
    median_degrees: float
    resolvable_gap: float  # nats per token; smallest true score that the median document would show
    documents: int  # of the campaign
    documents_excluded: int  # planted ones and whatever else the caller leaves out
    documents_sampled: int  # looked at: all others, or a random sample of them
    documents_without_se: int  # of those looked at

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which knows no NaN: None instead."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def diagnose(
    losses: NDArray[np.floating],
    treated: Bools,
    valid: Bools | None = None,
    blocks: NDArray[np.integer] | None = None,
    exclude: Bools | None = None,
    generator: np.random.Generator | None = None,
    target: float = TARGET,
    documents: int | None = None,
) -> Diagnostics:
    """Agreement of halves, reliability of all models and of more, and the gap that the median document can show.

    losses, treated, valid: (M, D), blocks: (M,), as for `memorization`. exclude: (D,) True for planted documents, whose
    scores were made to differ and would flatter every correlation. Where a score belongs to a group, give one column
    per group, its mean loss. A caller that read only the columns of `choose_documents` gives with `documents` how many
    there are. `generator` draws documents and halves; the same campaign gives the same numbers by default.
    """
    generator, number = generator or seeding.generator("reliability", seed=0), losses.shape[1]
    chosen = choose_documents(number, exclude, generator)
    treated = treated[:, chosen]
    valid = np.ones_like(treated) if valid is None else valid[:, chosen]
    values = np.where(valid, losses[:, chosen], 0).astype(np.float64)  # what does not count may be NaN
    block_of = np.zeros(len(losses), dtype=np.int64) if blocks is None else np.asarray(blocks, dtype=np.int64)
    agreement = agreements(values, treated, valid, block_of, generator)
    scores = memorization(values, treated, valid, block_of)
    usable = np.isfinite(scores.se)
    se, degrees = (float(np.median(v[usable])) if usable.any() else math.nan for v in (scores.se, scores.degrees))
    models, (half, largest) = len(losses), _largest(agreement)
    return Diagnostics(
        models=models,
        agreement=agreement,
        reliability=spearman_brown(half, models / largest),
        reliability_2x=spearman_brown(half, 2 * models / largest),
        reliability_4x=spearman_brown(half, 4 * models / largest),
        prediction_error=_prediction_error(agreement),
        target=target,
        models_for_target=models_for(half, largest, target),
        median_se=se,
        median_degrees=degrees,
        resolvable_gap=float(resolvable_gap(se, degrees)),
        documents=number if documents is None else documents,
        documents_excluded=0 if exclude is None else int(np.count_nonzero(exclude)),
        documents_sampled=len(chosen),
        documents_without_se=int(np.count_nonzero(~usable)),
    )


def _largest(agreement: tuple[Agreement, ...]) -> tuple[float, int]:
    return (agreement[-1].mean, agreement[-1].models) if agreement else (math.nan, 1)


def _prediction_error(agreement: tuple[Agreement, ...]) -> float:
    if len(agreement) < 2:
        return math.nan
    least, most = agreement[0], agreement[-1]
    return spearman_brown(least.mean, most.models / least.models) - most.mean


def choose_documents(
    number: int, exclude: Bools | None, generator: np.random.Generator, at_most: int | None = None
) -> NDArray[np.int64]:
    """Ascending indices of the documents to look at: all that are not excluded, or a random sample of them."""
    kept = np.arange(number) if exclude is None else np.flatnonzero(~np.asarray(exclude, dtype=np.bool_))
    most = SAMPLE if at_most is None else at_most
    return kept if len(kept) <= most else np.sort(generator.choice(kept, most, replace=False))


def agreements(
    losses: Floats, treated: Bools, valid: Bools, blocks: Ints, generator: np.random.Generator, halvings: int = HALVINGS
) -> tuple[Agreement, ...]:
    """Rank correlation of halves at up to four sizes; none where a half would have fewer than four models."""
    _, block_of = np.unique(blocks, return_inverse=True)
    found = []
    for size, whole in half_sizes(block_of):
        halves = np.stack([_halves(block_of, size, whole, generator) for _ in range(halvings)])  # (H, 2, M)
        scores = _scores(losses, treated & valid, ~treated & valid, halves.reshape(2 * halvings, -1))
        pairs = scores.reshape(halvings, 2, -1)
        correlations = np.array([rank_correlation(first, second) for first, second in pairs])
        measured = correlations[np.isfinite(correlations)]
        mean, sd = (float(measured.mean()), float(measured.std())) if len(measured) else (math.nan, math.nan)
        left_out = float(np.isnan(pairs).any(axis=1).sum(axis=1).mean())
        found.append(Agreement(size, mean, sd, len(measured), whole, left_out))
    return tuple(found)


def half_sizes(block_of: Ints) -> list[tuple[int, bool]]:
    """Models of a half, ascending, and whether such a half is whole blocks.

    Equal steps up to half of all models; a step that holds two blocks or more is rounded down to whole ones.
    """
    sizes = np.bincount(block_of)
    full = int((sizes == sizes.max()).sum())  # blocks from which a model is missing are not halves of anything
    block, largest = int(sizes.max()), int((sizes // 2).sum())
    found: dict[int, bool] = {}
    for size in np.linspace(max(SMALLEST_HALF, largest / COUNTS), largest, COUNTS).astype(np.int64).tolist():
        if size < SMALLEST_HALF or size > largest:
            continue
        number = min(size // block, full // 2)
        if number >= WHOLE_BLOCKS:
            found[number * block] = True
        else:
            found[size] = False
    return sorted(found.items())


def _halves(block_of: Ints, size: int, whole: bool, generator: np.random.Generator) -> Floats:
    """(2, M) 1 where a model belongs to the first or second half, else 0."""
    member = np.zeros((2, len(block_of)))
    sizes = np.bincount(block_of)
    if whole:
        full = np.flatnonzero(sizes == sizes.max())
        drawn = generator.permutation(full)[: 2 * size // sizes.max()].reshape(2, -1)
        for half, some in enumerate(drawn):
            member[half] = np.isin(block_of, some)
        return member
    # Two splits of one block make a pair, one for each half. Pairs are taken from all blocks in step.
    turn, first, second = [], [], []
    for block, models in enumerate(sizes // 2):
        shuffled = generator.permutation(np.flatnonzero(block_of == block))[: 2 * models].reshape(2, -1)
        first.append(shuffled[0])
        second.append(shuffled[1])
        turn.append((np.arange(models) + generator.random()) / max(models, 1))
    taken = np.argsort(np.concatenate(turn), kind="stable")[:size]
    member[0, np.concatenate(first)[taken]] = 1
    member[1, np.concatenate(second)[taken]] = 1
    return member


def _scores(losses: Floats, inside: Bools, outside: Bools, members: Floats) -> Floats:
    """(2H, D') mean loss out - mean loss in over the models of each half, (2H, M); NaN where a side is empty.

    In whole blocks this is the stratified score, because every block has the same number of splits on a side.
    """
    scores = np.empty((len(members), losses.shape[1]))
    for columns in _chunks(losses.shape[1]):
        values = losses[:, columns] - losses[:, columns].mean(axis=0)  # sums of small numbers keep their digits
        sides = []
        for side in (outside[:, columns].astype(np.float64), inside[:, columns].astype(np.float64)):
            with np.errstate(invalid="ignore", divide="ignore"):
                sides.append((members @ (values * side)) / (members @ side))
        scores[:, columns] = sides[0] - sides[1]
    return scores


def _chunks(number: int) -> Iterator[slice]:
    for start in range(0, number, COLUMNS_AT_A_TIME):
        yield slice(start, min(start + COLUMNS_AT_A_TIME, number))
