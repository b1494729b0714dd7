"""What a set of documents adds to a model's grasp of one of them: sets that overlap, removed by coins of their own.

Each set s is removed whole with a fixed probability, whatever else is in the split. Let A be the splits that keep every
other set with document i, and i "in" a split that has it.

    total(s, i)  = mean of l[m, i], s removed, A  -  mean of l[m, i], s kept, i in, A
    rest(s, i)   = mean of l[m, i], s removed, A  -  mean of l[m, i], s kept, i out, A  -  size(s, i)
    size(s, i)   = the effect of losing the other documents of s, as if they were unrelated: `size_curve`
    excess(s, i) = total(s, i) - size(s, i)

`total` is what the model loses with the set; `excess` what of it is not a matter of having fewer tokens; `rest` what
the set adds beyond the document itself. Without the condition A a set without any effect inherits that of another: on
the removed side the other set is sometimes gone as well, on the side with i in it never is.

Shapes: M splits, N documents, S sets, R rows (one for every document of every set).
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import Bools, Floats, Ints
from memo.estimators.scores import CONFIDENCE, memorization_of
from memo.estimators.size_curve import SizeCurve
from memo.estimators.student import interval
from memo.estimators.sums import sums

ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Effect:
    """One value a row, (R,) each, nats per token; NaN where a side has no split, its errors below two."""

    value: Floats
    se: Floats
    degrees: Floats
    ci_low: Floats
    ci_high: Floats
    p_value: Floats


@dataclass(frozen=True)
class Knockout:
    """(R,) each. `tokens_removed` and `tokens_kept`: mean tokens of the set, i apart, on either side of `total`."""

    total: Effect
    size: Effect
    excess: Effect
    rest: Effect
    n_removed: Ints
    n_in: Ints
    n_out: Ints
    tokens_removed: Floats
    tokens_kept: Floats


def knockout(
    losses: NDArray[np.floating],
    included: Bools,
    removed: Bools,
    members: tuple[Ints, Ints],
    n_tokens: NDArray[np.integer],
    curve: SizeCurve | None,
    blocks: NDArray[np.integer] | None = None,
    rows: Ints | None = None,
    confidence: float = CONFIDENCE,
) -> Knockout:
    """All effects of the sets on their documents.

    losses: (M, N) nats per token. included: (M, N), what each split trained on. removed: (M, S). members: documents and
    sets, (R,) each: all rows, because they say which other sets a document has. n_tokens: (N,). curve: None where there
    were no control sets; then size, excess and rest are NaN. blocks: (M,). rows: those that are wanted; all by default.
    """
    document = members[0]
    wanted = np.arange(len(document)) if rows is None else np.asarray(rows)
    gone = _removed_sets(removed, members, losses.shape[1])
    parts = [
        _some(losses, included, removed, gone, members, n_tokens, curve, blocks, wanted[begin : begin + ROWS_AT_A_TIME],
              confidence)
        for begin in range(0, len(wanted), ROWS_AT_A_TIME)
    ]  # fmt: skip
    if not parts:
        none = np.empty(0, dtype=np.int64)
        parts = [_some(losses, included, removed, gone, members, n_tokens, curve, blocks, none, confidence)]
    return _joined(parts)


def _removed_sets(removed: Bools, members: tuple[Ints, Ints], documents: int) -> NDArray[np.int16]:
    """(M, N) how many sets with the document are removed."""
    document, group = members
    order = np.argsort(document, kind="stable")
    found = np.zeros((len(removed), documents), dtype=np.int16)
    if len(order):
        unique, starts = np.unique(document[order], return_index=True)
        for split, row in enumerate(removed):  # a split at a time: M x R would not fit for a large campaign
            found[split, unique] = np.add.reduceat(row[group[order]].astype(np.int16), starts)
    return found


def _some(
    losses: NDArray[np.floating],
    included: Bools,
    removed: Bools,
    gone: NDArray[np.int16],
    members: tuple[Ints, Ints],
    n_tokens: NDArray[np.integer],
    curve: SizeCurve | None,
    blocks: NDArray[np.integer] | None,
    rows: Ints,
    confidence: float,
) -> Knockout:
    documents, sets = members[0][rows], members[1][rows]
    out_of_set = removed[:, sets]  # (M, r)
    others_kept = gone[:, documents] - out_of_set == 0
    values, inside = losses[:, documents], included[:, documents] & ~out_of_set
    left = others_kept & out_of_set
    here, apart = others_kept & inside, others_kept & ~inside & ~out_of_set
    total, n_in, n_removed = _contrast(values, here, left, blocks, confidence)
    rest, n_out, _ = _contrast(values, apart, left, blocks, confidence)
    kept = _tokens_present(included, members, rows, n_tokens, here)
    lost = _tokens_present(included, members, rows, n_tokens, left)
    size = _size(curve, kept - lost, confidence)
    return Knockout(
        total=total,
        size=size,
        excess=_difference(total, size, confidence),
        rest=_difference(rest, size, confidence),
        n_removed=n_removed,
        n_in=n_in,
        n_out=n_out,
        tokens_removed=lost,
        tokens_kept=kept,
    )


def _contrast(
    values: NDArray[np.floating], near: Bools, far: Bools, blocks: NDArray[np.integer] | None, confidence: float
) -> tuple[Effect, Ints, Ints]:
    """Mean of `far` minus mean of `near`, (r,), and the number of splits on either side."""
    if not values.shape[1]:
        nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
        return Effect(*[nothing] * 6), none, none
    block_of = np.zeros(len(values), dtype=np.int64) if blocks is None else np.asarray(blocks)
    found = memorization_of(sums(values, near, near | far, block_of), confidence)
    effect = Effect(found.memorization, found.se, found.degrees, found.ci_low, found.ci_high, found.p_value)
    return effect, found.n_in, found.n_out


def _tokens_present(
    included: Bools, members: tuple[Ints, Ints], rows: Ints, n_tokens: NDArray[np.integer], side: Bools
) -> Floats:
    """(r,) mean tokens of the row's set, its own document apart, in the splits of a side; NaN without any."""
    document, group = members
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(int(group.max(initial=-1)) + 2))
    present: dict[int, Floats] = {}
    found = np.full(len(rows), np.nan)
    for place, row in enumerate(rows):
        splits = side[:, place]
        if not splits.any():
            continue
        own = int(group[row])
        if own not in present:
            mine = document[order[starts[own] : starts[own + 1]]]
            present[own] = np.asarray(included[:, mine] @ n_tokens[mine].astype(np.float64))  # (M,)
        others = present[own][splits] - np.where(included[splits, document[row]], n_tokens[document[row]], 0)
        found[place] = float(others.mean())
    return found


def _size(curve: SizeCurve | None, tokens: Floats, confidence: float) -> Effect:
    if curve is None:
        return Effect(*[np.full(len(tokens), np.nan)] * 6)
    value, se = curve.at(tokens)
    degrees = np.full(len(tokens), curve.degrees)
    return Effect(value, se, degrees, *interval(value, se, degrees, confidence))


def _difference(one: Effect, other: Effect, confidence: float) -> Effect:
    """Of two independent estimates; degrees of freedom by Satterthwaite."""
    value, variance = one.value - other.value, one.se**2 + other.se**2
    with np.errstate(invalid="ignore", divide="ignore"):
        degrees = variance**2 / (one.se**4 / one.degrees + other.se**4 / other.degrees)
    se = np.sqrt(variance)
    return Effect(value, se, degrees, *interval(value, se, degrees, confidence))


def _joined(parts: list[Knockout]) -> Knockout:
    joined: dict[str, Any] = {}
    for field in fields(Knockout):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], Effect):
            joined[field.name] = Effect(
                *(np.concatenate([getattr(value, name.name) for value in values]) for name in fields(Effect))
            )
        else:
            joined[field.name] = np.concatenate(values)
    return Knockout(**joined)
