"""Sets that overlap, removed by coins: effects come out without bias; a naive contrast shows what is not there."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from memo.estimators import memorization, verdicts
from memo.estimators.knockout import Knockout, knockout
from memo.estimators.size_curve import SizeCurve, size_curve

DOCUMENTS, BLOCK, BLOCKS = 160, 16, 6
Q = 0.25
# Set 0 helps its documents, set 1 overlaps with it and does nothing, set 2 is a topic without any effect.
SETS = [np.arange(0, 12), np.arange(8, 20), np.arange(30, 40)]
CONTROLS = [np.arange(60, 63), np.arange(63, 69), np.arange(69, 80), np.arange(80, 100)]
GAIN = np.array([1.0, 0.0, 0.0])
OWN, PER_TOKEN = 0.5, 2e-4
N_TOKENS = np.full(DOCUMENTS, 50)
MEMBERS = (
    np.concatenate([*SETS, *CONTROLS]),
    np.repeat(np.arange(7), [len(part) for part in (*SETS, *CONTROLS)]),
)
CONTROL_SETS = np.arange(3, 7)
OF_SETS = np.flatnonzero(MEMBERS[1] < 3)


@dataclass
class Bank:
    losses: NDArray[np.float64]
    included: NDArray[np.bool_]
    removed: NDArray[np.bool_]
    blocks: NDArray[np.int64]

    def curve(self) -> SizeCurve:
        return size_curve(self.losses, self.included, self.removed, MEMBERS, CONTROL_SETS, N_TOKENS, self.blocks)

    def effects(self, curve: SizeCurve | None) -> Knockout:
        return knockout(self.losses, self.included, self.removed, MEMBERS, N_TOKENS, curve, self.blocks, OF_SETS)


def balanced(rng: np.random.Generator, units: int, taken: int) -> NDArray[np.bool_]:
    """(splits, units): in every block each unit in exactly so many splits."""
    order = rng.random((BLOCKS, BLOCK, units)).argsort(axis=1)
    return (order < taken).reshape(-1, units)


def bank(seed: int, noise: float = 0.2, composition: float = 0.02, own: float = OWN, gain: float | None = None) -> Bank:
    """Losses that fall by `own` where a document is in, rise by GAIN, or `gain`, where a set of it is removed, and by
    PER_TOKEN for every token that is not trained on; which other documents are in a split matters to each a little."""
    rng = np.random.default_rng(seed)
    base = balanced(rng, DOCUMENTS, BLOCK // 2)
    removed = balanced(rng, len(SETS) + len(CONTROLS), round(Q * BLOCK))
    gone = np.zeros((len(base), DOCUMENTS), dtype=bool)
    for number, documents in enumerate((*SETS, *CONTROLS)):
        gone[:, documents] |= removed[:, [number]]
    included = base & ~gone
    lost = 0.5 * N_TOKENS.sum() - included @ N_TOKENS
    losses = 4.0 - own * included + PER_TOKEN * lost[:, None]
    for number, documents in enumerate(SETS):
        losses[:, documents] += (GAIN[number] if gain is None else gain) * removed[:, [number]]
    losses += composition * (base - 0.5) @ rng.standard_normal((DOCUMENTS, DOCUMENTS))
    losses += noise * rng.standard_normal(losses.shape) + 0.1 * rng.standard_normal((len(base), 1))
    return Bank(losses, included, removed, np.repeat(np.arange(BLOCKS), BLOCK))


def truth() -> dict[str, NDArray[np.float64]]:
    """Of every row of the sets. Half of the other documents of a set are in a split that keeps it, unless they are in
    another set as well, which is then kept three times out of four."""
    document, group = MEMBERS[0][OF_SETS], MEMBERS[1][OF_SETS]
    doubled = {int(d) for d in np.intersect1d(SETS[0], SETS[1])}
    size = np.zeros(len(document))
    for row, (own, number) in enumerate(zip(document, group, strict=True)):
        others = [d for d in SETS[number] if d != own]
        # Where the row's own document is in both sets, A keeps the other set for all.
        kept = [1.0 if d not in doubled or own in doubled else 1 - Q for d in others]
        size[row] = PER_TOKEN * 0.5 * 50 * sum(kept)
    gain = GAIN[group]
    own_tokens = PER_TOKEN * 50
    return {
        "total": OWN + gain + size + own_tokens,
        "size": size,
        "excess": OWN + gain + own_tokens,
        "rest": gain,
    }


@pytest.fixture(scope="module")
def simulated() -> tuple[list[Knockout], list[SizeCurve]]:
    banks = [bank(seed) for seed in range(300)]
    curves = [one.curve() for one in banks]
    return [one.effects(curve) for one, curve in zip(banks, curves, strict=True)], curves


@pytest.mark.parametrize("name", ["total", "size", "excess", "rest"])
def test_effects_come_out_without_bias_and_intervals_cover(
    name: str, simulated: tuple[list[Knockout], list[SizeCurve]]
) -> None:
    found = [getattr(one, name) for one in simulated[0]]
    values = np.stack([effect.value for effect in found])
    wrong = values.mean(axis=0) - truth()[name]
    assert np.abs(wrong).max() < 5 * (values.std(axis=0) / np.sqrt(len(values))).max(), name
    assert abs(wrong.mean()) < 0.01
    inside = np.stack([(effect.ci_low <= truth()[name]) & (truth()[name] <= effect.ci_high) for effect in found])
    print(f"\n{name}: bias {wrong.mean():+.4f}, coverage {inside.mean():.3f}", end=" ")
    assert 0.93 <= inside.mean() <= 0.97, inside.mean()


def test_the_curve_is_that_of_unrelated_tokens(simulated: tuple[list[Knockout], list[SizeCurve]]) -> None:
    tokens = np.array([100.0, 300.0, 500.0])
    at = np.stack([curve.at(tokens)[0] for curve in simulated[1]])
    se = np.stack([curve.at(tokens)[1] for curve in simulated[1]])
    error = at.std(axis=0) / np.sqrt(len(at))
    assert (np.abs(at.mean(axis=0) - PER_TOKEN * tokens) < 4 * error).all()
    np.testing.assert_allclose(np.sqrt((se**2).mean(axis=0)), at.std(axis=0), rtol=0.12)


def test_a_contrast_that_does_not_condition_shows_what_is_not_there() -> None:
    """Set 1 does nothing; in the documents that it shares with set 0 a quarter of that set's effect shows."""
    shared = np.flatnonzero((MEMBERS[1][OF_SETS] == 1) & np.isin(MEMBERS[0][OF_SETS], SETS[0]))
    naive, conditioned = [], []
    for seed in range(60):
        one = bank(seed)
        documents = MEMBERS[0][OF_SETS][shared]
        for document in documents:
            gone, inside = one.removed[:, 1], one.included[:, document]
            naive.append(one.losses[gone, document].mean() - one.losses[inside, document].mean())
        conditioned.append(one.effects(None).total.value[shared])
    expected = truth()["total"][shared].mean()
    wrong = np.mean(naive) - expected, np.mean(conditioned) - expected
    print(f"\nerror of a naive contrast {wrong[0]:+.3f}, of a conditioned one {wrong[1]:+.3f}", end=" ")
    assert abs(np.mean(naive) - expected - Q * GAIN[0]) < 0.03
    assert abs(np.mean(conditioned) - expected) < 0.03


@pytest.mark.slow
def test_a_random_set_with_a_memorized_document_does_not_win() -> None:
    """Its excess is the document's own memorization and no more; what it adds beyond the document is nothing."""
    only = MEMBERS[1][OF_SETS] == 2
    rest = np.concatenate([bank(seed).effects(bank(seed).curve()).rest.value[only] for seed in range(60)])
    print(f"\nrest of a random set with a memorized document: {rest.mean():+.4f}", end=" ")
    assert abs(rest.mean()) < 0.02


def test_sides_and_doses_are_counted() -> None:
    one = bank(0)
    found = one.effects(None)
    documents, sets = MEMBERS[0][OF_SETS], MEMBERS[1][OF_SETS]
    for row, (document, number) in enumerate(zip(documents, sets, strict=True)):
        others = [s for s in range(7) if s != number and document in (SETS + CONTROLS)[s]]
        kept = ~one.removed[:, others].any(axis=1)
        gone = kept & one.removed[:, number]
        inside = kept & ~one.removed[:, number] & one.included[:, document]
        outside = kept & ~one.removed[:, number] & ~one.included[:, document]
        assert (found.n_removed[row], found.n_in[row], found.n_out[row]) == (gone.sum(), inside.sum(), outside.sum())
        mates = [d for d in SETS[number] if d != document]
        assert found.tokens_kept[row] == pytest.approx(50 * one.included[np.ix_(inside, mates)].sum(axis=1).mean())
        assert found.tokens_removed[row] == pytest.approx(50 * one.included[np.ix_(gone, mates)].sum(axis=1).mean())
        gap = one.losses[gone, document].mean() - one.losses[inside, document].mean()
        assert found.total.value[row] == pytest.approx(gap, abs=0.05)  # by block, so not to the last digit
    assert np.isnan(found.excess.value).all()  # without a curve


def test_what_cannot_be_told_apart_is_refused() -> None:
    one = bank(0)
    with pytest.raises(ValueError, match="at least one control set"):
        size_curve(one.losses, one.included, one.removed, MEMBERS, np.array([], int), N_TOKENS)
    everything = (np.arange(DOCUMENTS), np.zeros(DOCUMENTS, dtype=np.int64))
    with pytest.raises(ValueError, match="belong to no set"):
        size_curve(one.losses, one.included, one.removed, everything, np.array([0]), N_TOKENS)
    few = slice(0, 4)
    with pytest.raises(ValueError, match="4 splits for"):
        size_curve(one.losses[few], one.included[few], one.removed[few], MEMBERS, CONTROL_SETS, N_TOKENS)


@pytest.mark.slow
def test_where_nothing_is_memorized_next_to_nothing_is_called_memorized() -> None:
    """200 campaigns of the same sets without any effect: verdicts at a margin of 0, the hardest, on all documents of
    the sets, over a base score and the excess. At most 5 % of them may be called memorized, at 0.1 nats hardly one."""
    called = {0.0: 0, 0.1: 0}
    number = 0
    for seed in range(200):
        one = bank(1000 + seed, own=0.0, gain=0.0)
        found = one.effects(one.curve()).excess
        documents = MEMBERS[0][OF_SETS]
        gone = np.stack([one.removed[:, MEMBERS[1][MEMBERS[0] == d]].any(axis=1) for d in documents], axis=1)
        base = memorization(one.losses[:, documents], one.included[:, documents], ~gone, one.blocks)
        # Of a document in two sets these are two entries, each with the rules that it is asked about.
        gap, se = np.stack([base.memorization, found.value]), np.stack([base.se, found.se])
        degrees = np.stack([base.degrees, found.degrees])
        for margin in called:
            called[margin] += int((verdicts(gap, se, degrees, margin).rule >= 0).sum())
        number += len(documents)
    print(f"\ncalled memorized, by margin: {called} of {number}", end=" ")
    assert called[0.0] / number <= 0.05
    assert called[0.1] / number < 0.01
