"""Do the intervals contain the truth, and do nulls stay null? Simulated campaigns, in every design, truth known.

**The losses.** In campaign c, split m, document i of family f,

    l[m, i] = 5 - benefit[i] (1 - RHO ** copies[m, f]) + sum over j outside f of w[i, j] (z[m, j] - p) + e[m, i]

z[m, j] = 1 where j is in the split, p its probability; copies counts the members of i's family in the split, i itself
included. The sum is the noise of composition: w is drawn anew for each campaign and scaled so that it is a third of the
variance. e is the noise of training, smaller where the model has seen i. Phantoms (benefit 0) are trained on by nobody:
they have coins, and nothing depends on them (w[., j] = 0).

**The truth.** The score of a unit u is an average over the law of everything else, given that u's own coin was flipped:

    truth(u, i) = E[l[m, i] | u asked and left] - E[l[m, i] | u asked and taken]

u is asked where all coarser units around it were opened and it was not opened itself. Coins have streams of their own,
so given that, everything outside u is independent of whether u was taken:

1. Units outside the family are in the split with probability p on either side: the sum has expectation 0 on both and
   drops out. So do balanced blocks: they tie a unit's coins in different splits to each other, not to other units.
2. Inside the family there are R copies beside u on either side, and 0 or all |u| of its own:

       truth(u, i) = benefit[i] E[RHO ** R] (1 - RHO ** |u|)

3. R counts the members of what was opened around u, each part of which decides for itself. For a unit of height r
   whose parent was opened, X(u) members are in the split, with

       g(u) = E[RHO ** X(u)] = (1 - p + p RHO ** |u|) / r + (r - 1) / r * product of g over its parts

   and E[RHO ** R] is the product of g over the siblings of u, of its parent, and so on up. Without a ladder R = 0
   beside a unit; where documents flip coins alone, the other members of a family are independent: g = 1 - p + p RHO.

The score is unbiased for it, given n_in and n_out, which depend on coins alone; so documents may be chosen by them.

**Errors of the simulation.** Documents of a campaign share its splits, so campaigns are the sample, not documents.

Shapes: M splits, C campaigns of a chunk, D documents of a campaign, N = C x D, S groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from memo.contrasts import contrast
from memo.design_settings import Design
from memo.estimators import Memorization, benjamini_hochberg, memorization
from memo.estimators.power import effective_splits, measure_noise, predict
from memo.units import Units
from subsets.designs import draw_block, keys_of_units

NOISE_NATS, COMPOSITION_SHARE, BENEFIT_NATS, RHO = 0.24, 1 / 3, 1.0, 0.5
SEEN = 0.8  # noise of training of a model that has seen the document, relative to one that has not
CAMPAIGNS, CHUNK = 2_000, 250
LOW, HIGH = 0.93, 0.97
FEWEST = 5  # splits a side from which intervals are to cover
FEWEST_FOR_P = 8  # below, Welch's test itself is off: 5.4 % for 5 and 15 independent normal numbers
ERRORS = 3  # Monte Carlo errors that a rate may exceed its limit by

# One campaign: two families, of which the second are phantoms; a pair of phantoms; documents that stand alone.
NEAR = np.array([0] * 6 + [1] * 6 + [2, 2, *range(3, 13)])
EXACT = np.array([0, 0, 1, 1, 2, 3, 4, 4, 4, 5, 5, 6, 7, 7, *range(8, 18)])
PHANTOM = np.isin(np.arange(24), [*range(6, 14), 20, 21, 22, 23])
LABELS = {"document": np.arange(24), "exact": EXACT, "near": NEAR}


@dataclass(frozen=True)
class Case:
    name: str
    splits: int
    block: int
    include: float = 0.5
    base: str = "balanced"
    levels: tuple[str, ...] = ("document",)
    repeat: int = 1  # times the documents above in one campaign

    @property
    def design(self) -> Design:
        extra = {"unit": self.levels[0]} if len(self.levels) == 1 else {"ladder": self.levels[1:]}
        fields = {name: getattr(self, name) for name in ("splits", "block", "include", "base")}
        return Design.model_validate({**fields, **extra})

    @property
    def blocks(self) -> NDArray[np.int64] | None:
        """As in a campaign: coins that are not balanced have no blocks, and opposite splits are blocks of two."""
        size = self.design.error_block
        return None if size is None else np.arange(self.splits) // size


EXACT_LADDER, NEAR_LADDER = ("document", "exact", "near"), ("document", "near")
CASES = (
    Case("balanced, 5 and 5", 10, 10),
    Case("balanced, 5 and 15", 20, 20, include=0.25),
    Case("balanced, four blocks of 2 and 2", 16, 4),
    Case("balanced, two blocks", 32, 16),
    Case("balanced, blocks of 1 and 1", 32, 2),
    Case("balanced, blocks of 1 and 3", 32, 4, include=0.25),
    Case("bernoulli, a quarter", 32, 16, include=0.25, base="bernoulli"),
    Case("bernoulli, half", 16, 16, base="bernoulli"),
    Case("complement, 8 pairs", 16, 16, base="complement"),
    Case("complement, unit, 16 pairs", 32, 16, base="complement", levels=("exact",)),
    Case("unit, 5 and 5", 10, 10, levels=("exact",)),
    Case("unit, two blocks", 32, 16, levels=("exact",)),
    Case("ladder of 2 rungs, 24 splits", 24, 12, levels=NEAR_LADDER),
    Case("ladder of 2 rungs, 48 splits", 48, 12, levels=NEAR_LADDER),
    Case("ladder of 3 rungs, 36 splits", 36, 12, levels=EXACT_LADDER),
    Case("ladder of 3 rungs, 72 splits", 72, 12, levels=EXACT_LADDER),
)
NULL_CASES = (
    Case("balanced", 32, 16),
    Case("bernoulli", 48, 16, base="bernoulli"),
    Case("complement", 40, 20, base="complement"),
    Case("unit", 32, 16, levels=("exact",)),
    Case("ladder of 2 rungs", 72, 12, levels=NEAR_LADDER),
    Case("ladder of 3 rungs", 96, 12, levels=EXACT_LADDER),
)


@dataclass(frozen=True)
class World:
    """C campaigns side by side: one corpus for the design, and what a document does to another's loss."""

    doc_ids: list[str]
    units: Units
    family: NDArray[np.int64]  # (D,)
    phantom: NDArray[np.bool_]  # (D,)
    weights: NDArray[np.float64]  # (C, D, D) of document j (axis 1) on document i (axis 2)
    benefit: NDArray[np.float64]  # (D,) nats per token

    @classmethod
    def make(cls, case: Case, campaigns: int, chunk: int, null: bool = False) -> "World":
        def spread(labels: NDArray[np.int64], times: int) -> NDArray[np.int64]:
            return (np.arange(times)[:, None] * (labels.max() + 1) + labels).ravel()

        one = {name: spread(labels, case.repeat) for name, labels in LABELS.items()}
        family, phantom = one["near"], np.tile(PHANTOM, case.repeat)
        levels = [spread(one[name], campaigns) for name in case.levels]
        rng = np.random.default_rng([chunk, case.splits, case.repeat])
        acts = (family[:, None] != family) & (null | ~phantom[:, None])  # (D, D)
        variance = COMPOSITION_SHARE * NOISE_NATS**2 / (case.include * (1 - case.include))
        scale = np.sqrt(acts * variance / acts.sum(axis=0))
        weights = rng.normal(size=(campaigns, *acts.shape)) * scale
        benefit = np.where(phantom | null, 0.0, BENEFIT_NATS)
        doc_ids = [f"{chunk}/{campaign}/{d}" for campaign in range(campaigns) for d in range(len(family))]
        return cls(doc_ids, Units.of_levels(levels, case.levels), family, phantom, weights, benefit)

    def composition(self, included: NDArray[np.bool_], include: float) -> NDArray[np.float64]:
        """(M, C, D) from included (M, C, D)."""
        return np.matmul((included - include).transpose(1, 0, 2), self.weights).transpose(1, 0, 2)

    def losses(self, included: NDArray[np.bool_], include: float, seed: int) -> NDArray[np.float64]:
        """(M, N) nats per token."""
        shape = (len(included), *self.weights.shape[:2])
        inside = included.reshape(shape)
        copies = inside @ (self.family[:, None] == self.family).astype(np.float64)
        training = np.random.default_rng([seed, 1]).normal(size=shape) * NOISE_NATS * np.sqrt(1 - COMPOSITION_SHARE)
        losses = 5 - self.benefit * (1 - RHO**copies) + self.composition(inside, include)
        return (losses + training * np.where(inside, SEEN, 1.0)).reshape(len(included), -1)

    def truth(self, level: int, include: float) -> NDArray[np.float64]:
        """(D,) truth(u, i) of the units of one level; equal for all campaigns."""
        units, number = self.units, len(self.family)
        chain = units.chain[:, :number]
        parts: dict[int, list[int]] = {}
        for unit in np.unique(chain).tolist():
            parts.setdefault(int(units.parents[unit]), []).append(unit)

        def g(unit: int) -> float:
            height, size = int(units.heights[unit]), int(units.sizes[unit])
            whole = 1 - include + include * RHO**size
            return whole / height + (height - 1) / height * float(np.prod([g(part) for part in parts.get(unit, [])]))

        truth = np.empty(number)
        for document, unit in enumerate(chain[level].tolist()):
            others, inner = 1.0, unit
            while (parent := int(units.parents[inner])) >= 0:
                others *= float(np.prod([g(part) for part in parts[parent] if part != inner]))
                inner = parent
            # Members of the family in units that move on their own: all of those outside the coarsest unit.
            apart = (self.family == self.family[document]) & (chain[-1] != inner)
            others *= float(np.prod([g(u) for u in np.unique(chain[-1][apart]).tolist()]))
            truth[document] = self.benefit[document] * others * (1 - RHO ** int(units.sizes[unit]))
        return truth


@dataclass(frozen=True)
class Coins:
    asked: NDArray[np.bool_]  # (M, U)
    treated: NDArray[np.bool_]
    included: NDArray[np.bool_]  # (M, N)


def draw(case: Case, world: World, seed: int) -> Coins:
    keys, design = keys_of_units(world.doc_ids, world.units), case.design
    blocks = [draw_block(design, keys, world.units, number, seed) for number in range(design.blocks)]
    return Coins(*(np.concatenate([getattr(b, name) for b in blocks]) for name in ("asked", "treated", "included")))


@dataclass
class Rung:
    """Per campaign and document of one level, (campaigns, D); p-values per unit, repeated on its documents."""

    result: dict[str, NDArray[np.float64]]
    truth: NDArray[np.float64]  # (D,)
    first: NDArray[np.bool_]  # (D,) one document of each unit
    family_member: NDArray[np.bool_]  # (D,)
    phantom: NDArray[np.bool_]  # (D,)

    @property
    def covered(self) -> NDArray[np.bool_]:
        return (self.result["ci_low"] <= self.truth) & (self.truth <= self.result["ci_high"])

    def at_least(self, splits: int) -> NDArray[np.bool_]:
        return np.minimum(self.result["n_in"], self.result["n_out"]) >= splits


@dataclass
class _Chunks:
    parts: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, documents: int, p_unit: NDArray[np.float64], scores: Memorization) -> None:
        names = ("memorization", "se", "ci_low", "ci_high", "n_in", "n_out")
        for name, values in {**{n: getattr(scores, n) for n in names}, "p": p_unit}.items():
            self.parts.setdefault(name, []).append(values.reshape(-1, documents))

    def joined(self) -> dict[str, NDArray[np.float64]]:
        return {name: np.concatenate(parts) for name, parts in self.parts.items()}


def score(
    case: Case, world: World, coins: Coins, losses: NDArray[np.float64], level: int
) -> tuple[Memorization, NDArray[np.float64]]:
    """Scores of all documents under one level's rule, and the p-value of each document's unit, as in a score table."""
    groups = world.units.groups(level, world.doc_ids)
    sides = contrast(coins.asked, coins.treated, world.units, groups)
    scores = memorization(losses, sides.treated[:, groups.group], sides.valid[:, groups.group], case.blocks)
    order = np.argsort(groups.group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(groups.sizes)[:-1]])
    means = np.add.reduceat(losses[:, order], starts, axis=1) / groups.sizes
    return scores, memorization(means, sides.treated, sides.valid, case.blocks).p_value[groups.group]


@lru_cache(maxsize=1)  # the tests of a case follow each other
def simulate(case: Case, campaigns: int = CAMPAIGNS, null: bool = False) -> tuple[Rung, ...]:
    """All levels of a design, finest first."""
    chunks = [_Chunks() for _ in case.levels]
    for number, start in enumerate(range(0, campaigns, CHUNK)):
        world = World.make(case, min(CHUNK, campaigns - start), number, null)
        coins = draw(case, world, seed=number)
        losses = world.losses(coins.included, case.include, seed=number)
        for level, collected in enumerate(chunks):
            scores, p_unit = score(case, world, coins, losses, level)
            collected.add(len(world.family), p_unit, scores)
    return tuple(_rung(case, world, level, chunks[level].joined()) for level in range(len(case.levels)))


def _rung(case: Case, world: World, level: int, result: dict[str, NDArray[np.float64]]) -> Rung:
    chain = world.units.chain[level, : len(world.family)]
    first = np.zeros(len(chain), dtype=bool)
    first[np.unique(chain, return_index=True)[1]] = True
    member = np.bincount(world.family)[world.family] > 1
    return Rung(result, world.truth(level, case.include), first, member, world.phantom)


def rate(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of hits and its Monte Carlo error, with campaigns (axis 0) as the sample: a ratio of two means."""
    hit, number = (hits & among).sum(axis=1), among.sum(axis=1)
    mean = hit.sum() / number.sum()
    return float(mean), float(np.sqrt(((hit - mean * number) ** 2).sum()) / number.sum())


def report(*what: object) -> None:
    """Seen with `pytest -s`."""
    print(*(f"{w:.4f}" if isinstance(w, float) else w for w in what))


def kinds(rung: Rung) -> dict[str, NDArray[np.bool_]]:
    fits = rung.at_least(FEWEST)
    few = np.minimum(rung.result["n_in"], rung.result["n_out"]) == FEWEST
    return {
        "phantoms": fits & rung.phantom,
        "in a family": fits & ~rung.phantom & rung.family_member,
        "alone": fits & ~rung.phantom & ~rung.family_member,
        "fewest splits": few,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scores_cover_the_truth_and_phantoms_are_null(case: Case) -> None:
    for level, rung in zip(case.levels, simulate(case), strict=True):
        for kind, among in kinds(rung).items():
            if among.any():
                covers, error = rate(rung.covered, among)
                report(case.name, "|", level, "|", kind, "covers", covers, "+-", error)
                assert LOW <= covers <= HIGH, f"{level}, {kind}: covers {covers:.4f} +- {error:.4f}"
                assert error < 0.01
        among = rung.at_least(FEWEST_FOR_P) & rung.phantom & rung.first
        if among.any():
            significant, error = rate(rung.result["p"] < 0.05, among)
            report(case.name, "|", level, "| phantoms with p < 0.05:", significant, "+-", error)
            assert significant <= 0.05 + ERRORS * error, f"{level}: {significant:.4f} +- {error:.4f}"
        _check_bias(rung)


def _check_bias(rung: Rung) -> None:
    """The truth derived above is what scores estimate: their mean error is 0 within the Monte Carlo error."""
    fits = rung.at_least(1) & ~rung.phantom
    errors = np.where(fits, rung.result["memorization"] - rung.truth, 0.0)
    mean = errors.sum() / fits.sum()
    standard = np.sqrt(((errors.sum(axis=1) - mean * fits.sum(axis=1)) ** 2).sum()) / fits.sum()
    assert abs(mean) < 4 * standard


@pytest.mark.parametrize("case", NULL_CASES, ids=lambda case: case.name)
def test_a_campaign_without_effects_has_discoveries_as_seldom_as_promised(case: Case) -> None:
    check_discoveries(case)


def check_discoveries(case: Case, campaigns: int = CAMPAIGNS) -> None:
    for level, rung in zip(case.levels, simulate(case, campaigns, null=True), strict=True):
        values = (rung.result[name][:, rung.first] for name in ("p", "n_in", "n_out"))
        q_values = [benjamini_hochberg(*row) for row in zip(*values, strict=True)]
        offered = np.array([np.isfinite(row).any() for row in q_values])
        assert offered.mean() > 0.99
        found = float(np.mean([(row < 0.05).any() for row in q_values]))
        limit = 0.05 + ERRORS * np.sqrt(0.05 * 0.95 / campaigns)
        report("null", case.name, "|", level, "| campaigns with a discovery:", found, "limit", limit)
        assert found <= limit, f"{level}: {found:.4f}"


def test_composition_is_a_third_of_the_noise() -> None:
    case = Case("balanced", 32, 16)
    world = World.make(case, 100, 0)
    included = draw(case, world, 0).included.reshape(32, 100, -1)
    variance = world.composition(included, 0.5).var(axis=0, ddof=1).mean()
    assert variance / NOISE_NATS**2 == pytest.approx(COMPOSITION_SHARE, rel=0.1)


def test_the_truth_of_a_pair_worked_out_by_hand() -> None:
    """{0 1} are copies in a family of six with {2 3}, 4 and 5: three rungs, p = 1/2, RHO = 1/2."""
    world = World.make(CASES[-1], 1, 0)
    alone = 3 / 4  # E[RHO ** X] of a document that flips its own coin
    pair = (1 / 2 + 1 / 2 * 1 / 4) / 2 + alone**2 / 2
    documents, copies, families = (world.truth(level, 0.5) for level in range(3))
    np.testing.assert_allclose(documents[[0, 4]], [alone * pair * alone**2 / 2, pair**2 * alone / 2])
    np.testing.assert_allclose(copies[[0, 4]], [pair * alone**2 * 3 / 4, pair**2 * alone / 2])
    np.testing.assert_allclose(families[[0, 6, 14]], [1 - 1 / 64, 0, 1 / 2])
    by_document = World.make(CASES[0], 1, 0).truth(0, 0.5)
    np.testing.assert_allclose(by_document[[0, 14]], [alone**5 / 2, 1 / 2])


def predicted_over_found(case: Case, pilot_splits: int, campaigns: int) -> NDArray[np.float64]:
    """(campaigns, levels) standard error predicted from a pilot / root mean square of the finished campaign's."""
    found = np.empty((campaigns, len(case.levels)))
    pilot = Case(
        "pilot", pilot_splits, min(case.block, pilot_splits), case.include, case.base, case.levels, case.repeat
    )
    for campaign in range(campaigns):
        world = World.make(case, 1, campaign)
        trial, coins = draw(pilot, world, seed=campaign + 10_000), draw(case, world, seed=campaign)
        losses = world.losses(trial.included, case.include, seed=campaign + 10_000)
        finished = world.losses(coins.included, case.include, seed=campaign)
        share = world.units.decided_share
        for level in range(len(case.levels)):
            unit = world.units.chain[level]
            several = world.units.sizes[unit] > 1 if level else np.ones(len(unit), dtype=bool)
            groups = world.units.groups(level, world.doc_ids)
            sides = contrast(trial.asked, trial.treated, world.units, groups)
            treated, valid = (of[:, groups.group] for of in (sides.treated, sides.valid))
            noise = measure_noise(losses, treated, valid, pilot.blocks, exclude=~several)
            expected = _expected(case, share[unit[several]])
            predicted = predict(noise, *expected, blocks=1 if case.blocks is None else case.blocks[-1] + 1).se
            actual = score(case, world, coins, finished, level)[0].se[several]
            found[campaign, level] = np.sqrt(np.nanmean(predicted**2) / np.nanmean(actual**2))
    return found


def _expected(case: Case, share: NDArray[np.float64]) -> Sequence[NDArray[np.float64] | float]:
    if case.base == "bernoulli":
        return [effective_splits(case.splits, p) for p in (case.include, 1 - case.include)]
    return [share * case.splits * p for p in (case.include, 1 - case.include)]


@pytest.mark.parametrize(
    ("case", "pilot_splits"),
    [
        (Case("balanced", 64, 16, repeat=4), 8),
        (Case("bernoulli", 64, 16, 0.25, "bernoulli", repeat=4), 16),
        (Case("complement", 64, 16, base="complement", repeat=4), 8),
        (Case("unit", 64, 16, levels=("exact",), repeat=4), 8),
        (Case("ladder of 2 rungs", 48, 12, levels=NEAR_LADDER, repeat=4), 12),
        (Case("ladder of 3 rungs", 72, 12, levels=EXACT_LADDER, repeat=8), 12),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else None,
)
def test_a_pilot_predicts_the_standard_error_of_every_rung(case: Case, pilot_splits: int) -> None:
    ratio = predicted_over_found(case, pilot_splits, campaigns=40)
    for level, of_level in zip(case.levels, ratio.T, strict=True):
        error = np.sqrt(((of_level - 1) ** 2).mean())
        report("power", case.name, "|", level, "| error rms", float(error), "largest", float(abs(of_level - 1).max()))
        assert error < 0.1
        assert (abs(of_level - 1) < 0.2).all()


@pytest.mark.slow
@pytest.mark.parametrize("case", NULL_CASES, ids=lambda case: case.name)
def test_many_documents_without_effects_have_discoveries_as_seldom_as_promised(case: Case) -> None:
    """240 documents reach further into the tails of t: the least of 240 p-values must be below 0.0002."""
    fields = {name: getattr(case, name) for name in ("splits", "block", "include", "base", "levels")}
    check_discoveries(Case(case.name, **fields, repeat=10))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_coverage_with_ten_times_the_campaigns(case: Case) -> None:
    """Same band, a third of the Monte Carlo error: nothing hides in it."""
    for level, rung in zip(case.levels, simulate(case, 10 * CAMPAIGNS), strict=True):
        for kind, among in kinds(rung).items():
            if among.any():
                covers, error = rate(rung.covered, among)
                report(case.name, "|", level, "|", kind, "covers", covers, "+-", error)
                assert LOW <= covers <= HIGH, f"{level}, {kind}: covers {covers:.4f} +- {error:.4f}"
        _check_bias(rung)
