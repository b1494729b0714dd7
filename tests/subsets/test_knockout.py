"""Sets that are removed whole: balanced, on top of any base, capped, refused where too few splits are left."""

from typing import Any

import numpy as np
import pytest

from memo.design_settings import Design
from memo.errors import DamagedError, UsageError
from memo.groups import Groups
from memo.sets import CONTROL, Sets, read_sets, write_sets
from memo.splits import Block, block_bytes, read_block
from memo.units import Units, build_units
from subsets.checks import check_block
from subsets.designs import draw_block, keys_of_units
from subsets.designs.knockout import build_sets, draw_removed, remove

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
    return [(block, remove(block, coins, sets, units)) for block, coins in zip(before, removed, strict=True)]


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
