"""Sets that are removed whole: balanced, on top of any base, capped, refused where too few splits are left."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from memo.design_settings import Design
from memo.errors import DamagedError, UsageError
from memo.estimators import memorization
from memo.groups import Groups
from memo.sets import CONTROL, Removal, Sets, read_sets, write_sets
from memo.splits import Block, block_bytes, read_block
from memo.units import Units, build_units
from subsets.checks import check_block
from subsets.designs import draw_block, keys_of_units, resolutions
from subsets.designs.knockout import build_sets, draw_removed, remove
from subsets.designs.parts import Parts

DOCUMENTS = 120
DOC_IDS = [f"d{number}" for number in range(DOCUMENTS)]
N_TOKENS = np.random.default_rng(0).integers(10, 60, DOCUMENTS)


def groups(*sets: list[int]) -> Groups:
    rows = [(DOC_IDS[d], f"s{number}") for number, documents in enumerate(sets) for d in documents]
    return Groups.of_labels(DOC_IDS, [doc_id for doc_id, _ in rows], [label for _, label in rows])


RULES = {"passage": groups([1, 2, 3], [3, 4, 5, 6]), "topic": groups([6, 7, 8, 9, 10])}


def design(**settings: Any) -> Design:
    knockout = {"sets": ["passage", "topic"], "size_controls": 3, **settings.pop("knockout", {})}
    return Design.model_validate({"splits": 96, "max_removed": 0.2, "knockout": knockout, **settings})


def units_for(settings: Design) -> Units:
    levels = {"document": Groups.of_documents(DOC_IDS)}
    if settings.ladder:
        pairs = groups(*([d, d + 1] for d in range(0, 40, 2)))
        levels[settings.ladder[0]] = pairs
    return build_units(DOC_IDS, levels)


def blocks_of(settings: Design, sets: Sets, units: Units, seed: int = 0) -> list[tuple[Block, Block]]:
    """Every block before and after the removal."""
    keys = keys_of_units(DOC_IDS, units)
    before = [draw_block(settings, keys, units, number, seed) for number in range(settings.blocks)]
    removed = [draw_removed(settings, sets, number, seed) for number in range(settings.blocks)]
    return [
        (block, remove(block, coins, sets, units, settings.base == "complement"))
        for block, coins in zip(before, removed, strict=True)
    ]


@pytest.mark.parametrize("settings", [{}, {"base": "bernoulli"}, {"base": "complement"}, {"ladder": ("pairs",)}])
def test_a_removed_set_is_gone_and_nothing_else_moves(settings: dict[str, Any], tmp_path: Any) -> None:
    chosen = design(**settings)
    units = units_for(chosen)
    sets = build_sets(chosen, RULES, DOC_IDS, N_TOKENS, 0)
    document, group = sets.members
    for number, (before, after) in enumerate(blocks_of(chosen, sets, units)):
        expected = chosen.knockout.probability * chosen.block_size if chosen.knockout else 0
        assert (after.removed.sum(axis=0) == expected).all()
        gone = np.zeros_like(before.included)
        for split in range(chosen.block_size):
            gone[split, document[after.removed[split, group]]] = True
        np.testing.assert_array_equal(after.included, before.included & ~gone)
        whole = np.array([[not gone[s, (units.chain == u).any(axis=0)].any() for u in range(units.count)]
                          for s in range(chosen.block_size)])  # fmt: skip
        if chosen.base == "complement":
            whole = np.repeat(whole[0::2] & whole[1::2], 2, axis=0)
        np.testing.assert_array_equal(after.asked, before.asked & whole)
        assert not (after.treated & ~after.asked).any()
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(block_bytes(after))
        check_block(read_block(path), number, units, chosen, sets)


def test_sets_survive_the_disk_and_coins_follow_names(tmp_path: Any) -> None:
    sets = build_sets(design(), RULES, DOC_IDS, N_TOKENS, 0)
    write_sets(tmp_path / "sets.parquet", sets, DOC_IDS)
    again = read_sets(tmp_path / "sets.parquet", DOC_IDS)
    assert (again.rule, again.group) == (sets.rule, sets.group)
    np.testing.assert_array_equal(again.members, sets.members)
    # A rule that is removed beside the others does not move their coins.
    fewer = Sets.of_groups({"topic": RULES["topic"]})
    own = sets.of_rule("topic")[0]
    np.testing.assert_array_equal(draw_removed(design(), sets, 2, 5)[:, own], draw_removed(design(), fewer, 2, 5)[:, 0])
    assert (draw_removed(design(), sets, 2, 5) != draw_removed(design(), sets, 2, 6)).any()


def test_control_sets_are_of_graded_sizes_and_share_no_document() -> None:
    sets = build_sets(design(knockout={"size_controls": 5}), RULES, DOC_IDS, N_TOKENS, 0)
    controls = sets.controls
    assert len(controls) == 5 and [sets.rule[c] for c in controls] == [CONTROL] * 5
    document, group = sets.members
    assert len(set(document[np.isin(group, controls)])) == np.isin(group, controls).sum()
    assert not set(document[np.isin(group, controls)]) & set(document[~np.isin(group, controls)])
    tokens = sets.tokens(N_TOKENS)
    others = np.setdiff1d(np.arange(sets.count), controls)
    wanted = np.geomspace(tokens[others].max() // 8, tokens[others].max(), 5)
    over = tokens[controls] - wanted  # by less than a document
    assert (over >= -1).all() and (over < N_TOKENS.max()).all()
    assert len(build_sets(design(knockout={"size_controls": 0}), RULES, DOC_IDS, N_TOKENS, 0).controls) == 0


def test_the_order_of_the_documents_does_not_matter() -> None:
    order = np.random.default_rng(1).permutation(DOCUMENTS)
    shuffled = [DOC_IDS[place] for place in order]
    moved = {
        name: Groups.of_labels(shuffled, [DOC_IDS[d] for d in found.document], [found.ids[g] for g in found.group])
        for name, found in RULES.items()
    }
    one = build_sets(design(), RULES, DOC_IDS, N_TOKENS, 0)
    two = build_sets(design(), moved, shuffled, N_TOKENS[order], 0)

    def named(sets: Sets, ids: list[str]) -> dict[tuple[str, str], set[str]]:
        found: dict[tuple[str, str], set[str]] = {}
        for document, group in zip(*sets.members, strict=True):
            found.setdefault((sets.rule[group], sets.group[group]), set()).add(ids[document])
        return found

    assert named(one, DOC_IDS) == named(two, shuffled)


def test_a_set_above_the_cap_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"rule 'topic', set 's0': expected at most 0.05 of the tokens .*max_removed"):
        build_sets(design(max_removed=0.05), {"topic": RULES["topic"]}, DOC_IDS, N_TOKENS, 0)


def test_ten_sets_over_one_document_are_refused_with_the_arithmetic() -> None:
    many = {f"r{number}": groups([0, 10 + number]) for number in range(10)}
    chosen = design(knockout={"sets": list(many), "size_controls": 0})
    with pytest.raises(UsageError) as caught:
        build_sets(chosen, many, DOC_IDS, N_TOKENS, 0)
    share = 0.25 * 0.75**9
    assert f"document 'd0' is in 10 sets, so 96 splits give {96 * share:.3g}" in str(caught.value)
    enough = int(str(caught.value).partition("use ")[2].split()[0])
    assert enough % 16 == 0 and enough * share >= 8 > (enough - 16) * share
    build_sets(design(splits=enough, knockout={"sets": list(many), "size_controls": 0}), many, DOC_IDS, N_TOKENS, 0)


def test_too_many_control_tokens_and_empty_rules_are_refused() -> None:
    with pytest.raises(UsageError, match="expected documents of no set with clearly more, found"):
        build_sets(design(knockout={"size_controls": 80}), RULES, DOC_IDS, N_TOKENS, 0)
    with pytest.raises(UsageError, match="expected sets, found none of rule 'nothing'"):
        build_sets(design(), {"nothing": groups()}, DOC_IDS, N_TOKENS, 0)


def test_damage_is_found() -> None:
    chosen = design()
    units, sets = units_for(chosen), build_sets(design(), RULES, DOC_IDS, N_TOKENS, 0)
    _, good = blocks_of(chosen, sets, units)[0]
    check_block(good, 0, units, chosen, sets)
    flipped = good.removed.copy()
    flipped[:, 0] = ~flipped[:, 0]
    with pytest.raises(DamagedError, match="delete the block and sample again"):
        check_block(Block(good.asked, good.treated, good.included, good.controls, flipped), 0, units, chosen, sets)
    back = good.included.copy()
    back[good.removed[:, 0].argmax(), 1] = True
    with pytest.raises(DamagedError, match="a document of a removed set is in a split"):
        check_block(Block(good.asked, good.treated, back, good.controls, good.removed), 0, units, chosen, sets)


def test_what_a_group_loses_with_sets_is_counted_and_said() -> None:
    chosen = design()
    units, sets = units_for(chosen), build_sets(chosen, RULES, DOC_IDS, N_TOKENS, 0)
    removed = np.concatenate([after.removed for _, after in blocks_of(chosen, sets, units)])
    some = groups([0, 1], [3, 100, 6], [101, 102])
    lost = sets.splits_lost(removed, some)
    document, group = sets.members
    for number in range(3):
        mine = some.document[some.group == number]
        touching = np.unique(group[np.isin(document, mine)])
        assert lost[number] == removed[:, touching].any(axis=1).sum()
    told = Removal(lost, False).explained("in no split that counts: no score", 1, 96)
    assert told is not None and told.endswith(
        f"; {lost[1]} of 96 splits do not count, they lost a document of it with a set"
    )
    assert Removal(lost, False).explained(None, 1, 96) is None
    assert (
        Removal(np.zeros(3, dtype=np.int64), True).explained("in no split: no score", 1, 96) == "in no split: no score"
    )
    own = Removal(lost, True).explained("x", 0, 96)
    assert own is not None and own.startswith("removed whole by a coin of its own, see memo spectrum")


def test_control_sets_leave_groups_alone_where_they_can() -> None:
    chosen = design(ladder=("pairs",), splits=96)
    units = units_for(chosen)
    grouped = set(np.flatnonzero(units.sizes[units.chain[-1]] > 1))
    sets = build_sets(chosen, RULES, DOC_IDS, N_TOKENS, 0, units=units)
    document, group = sets.members
    assert not grouped & set(document[np.isin(group, sets.controls)])
    everything = build_sets(chosen, RULES, DOC_IDS, N_TOKENS, 0)
    document, group = everything.members
    assert grouped & set(document[np.isin(group, everything.controls)])  # unless they are told so


def test_resolution_knows_what_sets_take_away() -> None:
    chosen = design(ladder=("pairs",), splits=96, knockout={"size_controls": 0})
    units, sets = units_for(chosen), build_sets(design(knockout={"size_controls": 0}), RULES, DOC_IDS, N_TOKENS, 0)
    plain, less = resolutions(chosen, units), resolutions(chosen, units, Parts(chosen, units, sets))
    assert plain[1].splits_in == pytest.approx(24)
    assert less[1].splits_in == pytest.approx(24 * 0.75**2)  # pair (2, 3), in both passages' sets
    times = Parts(chosen, units, sets).expected_times
    assert times[3] == pytest.approx(0.5 * 0.75**2) and times[90] == 0.5


def test_only_whole_pairs_of_opposite_splits_count() -> None:
    """What else is in two opposite splits is opposite as well: here a third of the variance. Intervals cover."""
    chosen = design(base="complement", splits=96)
    units, sets = units_for(chosen), build_sets(chosen, RULES, DOC_IDS, N_TOKENS, 0)
    in_one_set = 8
    rng, inside = np.random.default_rng(0), []
    for seed in range(60):
        blocks = [after for _, after in blocks_of(chosen, sets, units, seed)]
        asked, treated = (
            np.concatenate([getattr(b, name) for b in blocks])[:, [in_one_set]] for name in ("asked", "treated")
        )
        assert (asked[0::2] == asked[1::2]).all() and 0 < asked.sum() < 96
        pair = np.stack([side := rng.normal(0, np.sqrt(1 / 3), (48, 60)), -side], axis=1).reshape(96, 60)
        losses = 4.0 - 0.5 * treated + 0.2 * (pair + rng.normal(0, np.sqrt(2 / 3), pair.shape))
        wide = np.broadcast_to(treated, losses.shape), np.broadcast_to(asked, losses.shape)
        found = memorization(losses, *wide, np.arange(96) // 2)
        inside.append((found.ci_low <= 0.5) & (found.ci_high >= 0.5))
    first = losses[:, 0].reshape(-1, 2)
    gap = np.where(treated[0::2, 0], first[:, 1] - first[:, 0], first[:, 0] - first[:, 1])[asked[0::2, 0]]
    assert found.p_value[0] == pytest.approx(stats.ttest_1samp(gap, 0).pvalue, abs=1e-12)
    assert 0.93 <= np.mean(inside) <= 0.97
