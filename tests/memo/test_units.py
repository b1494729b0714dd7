"""Units, joins and the contrasts that follow from coins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memo.contrasts import NOT_DECIDED, contrast
from memo.groups import Groups
from memo.units import Units, build_units, join

IDS = ["a", "b", "c", "d"]


def groups(labels: str) -> Groups:
    """`groups("xxyz")`; a dot is a document in no group."""
    rows = [(doc_id, label) for doc_id, label in zip(IDS, labels, strict=True) if label != "."]
    return Groups.of_labels(IDS, [r[0] for r in rows], [r[1] for r in rows])


@pytest.fixture
def units() -> Units:
    """The example of the module: {a b} are copies, {a b c} near-duplicates, {d} stands alone."""
    return build_units(IDS, {"document": Groups.of_documents(IDS), "exact": groups("xxyz"), "near": groups("nnn.")})


def test_a_set_on_several_levels_is_one_unit(units: Units) -> None:
    assert units.count == 6
    np.testing.assert_array_equal(units.chain, [[0, 1, 2, 3], [4, 4, 2, 3], [5, 5, 5, 3]])
    np.testing.assert_array_equal(units.sizes, [1, 1, 1, 1, 2, 3])
    np.testing.assert_array_equal(units.parents, [4, 4, 5, -1, 5, -1])
    np.testing.assert_array_equal(units.heights, [1, 1, 1, 1, 2, 3])


def test_rungs_that_are_not_nested_are_joined() -> None:
    joined, grown = join(groups("xxyz").labels(), groups(".nn."))
    assert grown == 1 and len(set(joined[:3])) == 1 and joined[3] != joined[0]
    assert join(groups("xxyz").labels(), groups("nnn."))[1] == 0


def test_groups_of_a_rung_bear_the_rule_s_labels_or_say_that_they_are_joined(units: Units) -> None:
    named = units.groups(2, IDS, groups("nnn."))
    assert [named.ids[g] for g in named.group] == ["n", "n", "n", "d"]
    joined = build_units(IDS, {"document": Groups.of_documents(IDS), "exact": groups("xxyz"), "odd": groups(".nn.")})
    assert joined.joined == (0, 0, 1) and units.joined == (0, 0, 0)
    labels = joined.groups(2, IDS, groups(".nn."))
    assert [labels.ids[g] for g in labels.group] == ["joined:a", "joined:a", "joined:a", "d"]


def test_a_unit_is_scored_by_its_own_coin_alone(units: Units) -> None:
    # Splits: the family taken whole, left whole, opened with the pair taken, opened twice with a and b in alone.
    asked = np.array([[0, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]], dtype=bool)
    treated = np.array([[0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0], [1, 1, 0, 0, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(
        units.included(asked, treated), np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1], [1, 1, 0, 0]], dtype=bool)
    )
    pair = contrast(asked, treated, units, groups("xxyz"))
    np.testing.assert_array_equal(pair.valid[:, 0], [False, False, True, False])
    document = contrast(asked, treated, units, Groups.of_documents(IDS))
    np.testing.assert_array_equal(document.valid, asked[:, :4])
    family = contrast(asked, treated, units, groups("nnn."))
    np.testing.assert_array_equal(family.valid[:, 0], [True, True, False, False])


def test_another_rule_counts_where_its_set_is_whole_by_coins_of_its_own(units: Units) -> None:
    asked = np.array([[0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]], dtype=bool)
    treated = np.array([[0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]], dtype=bool)
    found = contrast(asked, treated, units, groups("..ss"))
    # Split 0: c came with a and b, so it is not by its own coin. 1, 2: whole in. 3: whole out.
    np.testing.assert_array_equal(found.valid[:, 0], [False, True, True, True])
    np.testing.assert_array_equal(found.treated[1:, 0], [True, True, False])


def test_a_part_of_a_unit_was_never_decided_alone() -> None:
    units = build_units(IDS, {"exact": groups("xxyz")})
    asked = np.ones((4, units.count), dtype=bool)
    treated = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=bool)
    found = contrast(asked, treated, units, Groups.of_documents(IDS))
    assert found.reason.tolist() == [NOT_DECIDED, NOT_DECIDED, None, None]
    assert not found.valid[:, :2].any()


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=12, max_size=12), min_size=1, max_size=4))
def test_levels_are_nested_whatever_the_rules(rules: list[list[int]]) -> None:
    ids = [f"d{i}" for i in range(12)]
    built = build_units(
        ids,
        {
            "document": Groups.of_documents(ids),
            **{f"r{n}": Groups.of_labels(ids, ids, [str(v) for v in row]) for n, row in enumerate(rules)},
        },
    )
    for fine, coarse in zip(built.chain[:-1], built.chain[1:], strict=True):
        for unit in np.unique(fine):
            assert len(np.unique(coarse[fine == unit])) == 1
    for level, row in zip(built.chain[1:], rules, strict=True):
        for label in set(row):
            assert len(np.unique(level[np.array(row) == label])) == 1
    members = {tuple(np.flatnonzero((built.chain == unit).any(axis=0))) for unit in range(built.count)}
    assert len(members) == built.count


def test_a_document_that_bears_the_label_of_a_group_is_told_apart() -> None:
    ids = ["a", "b", "20", "c"]
    labelled = Groups.of_labels(ids, ids[:2], ["20", "20"])
    built = build_units(ids, {"document": Groups.of_documents(ids), "mine": labelled})
    named = built.groups(1, ids, labelled)
    assert [named.ids[g] for g in named.group] == ["20", "20", "document:20", "c"]
