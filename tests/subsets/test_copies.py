"""Documents that a split has so many times: balanced, on top of any base, refused where they do not stand alone."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from memo.design_settings import Design
from memo.errors import DamagedError, UsageError
from memo.groups import Groups, Index
from memo.sets import read_copied, write_copied
from memo.splits import Block, block_bytes, read_block
from memo.units import Units, build_units
from subsets.checks import check_block
from subsets.designs import draw_block, keys_of_units
from subsets.designs.copies import choose_copied, draw_copies, with_copies
from subsets.designs.knockout import build_sets, draw_removed, remove

DOCUMENTS = 80
DOC_IDS = [f"d{number}" for number in range(DOCUMENTS)]
N_TOKENS = np.full(DOCUMENTS, 20)
NO_SETS = np.empty(0, dtype=np.int64)
CHOSEN = [f"d{number}" for number in range(50, 62)]


def design(**settings: Any) -> Design:
    copies = {"documents": CHOSEN, **settings.pop("copies", {})}
    return Design.model_validate({"copies": copies, "max_removed": 0.5, **settings})


def units_for(settings: Design) -> Units:
    levels = {"document": Groups.of_documents(DOC_IDS)}
    if settings.ladder:
        pairs = [(DOC_IDS[d + k], f"p{d}") for d in range(0, 40, 2) for k in (0, 1)]
        levels["pairs"] = Groups.of_labels(DOC_IDS, [d for d, _ in pairs], [label for _, label in pairs])
    return build_units(DOC_IDS, levels)


def chosen_for(settings: Design, units: Units, groups: Groups | None = None, in_sets: Index = NO_SETS) -> Index:
    return choose_copied(settings, groups, DOC_IDS, N_TOKENS, units, in_sets, 0)


def drawn(settings: Design, number: int = 0, seed: int = 0) -> tuple[Block, Index, Units]:
    units = units_for(settings)
    copied = chosen_for(settings, units)
    names = [DOC_IDS[place] for place in copied]
    block = draw_block(settings, keys_of_units(DOC_IDS, units), units, number, seed)
    return with_copies(block, draw_copies(settings, names, number, seed), copied, units), copied, units


@pytest.mark.parametrize(
    "settings",
    [{}, {"copies": {"counts": [0, 1, 4]}}, {"ladder": ["pairs"], "splits": 60}, {"splits": 60, "include": 0.3}],
)
def test_each_number_comes_equally_often_in_every_block(settings: dict[str, Any], tmp_path: Any) -> None:
    chosen = design(**settings)
    assert chosen.copies is not None
    counts = chosen.copies.counts
    for number in range(chosen.blocks):
        block, copied, units = drawn(chosen, number)
        for count in counts:
            assert ((block.copies == count).sum(axis=0) == chosen.block_size // len(counts)).all()
        np.testing.assert_array_equal(block.included[:, copied], block.copies > 0)
        np.testing.assert_array_equal(block.treated[:, units.chain[0, copied]], block.copies > 0)
        assert block.asked[:, units.chain[0, copied]].all()
        plain = draw_block(chosen, keys_of_units(DOC_IDS, units), units, number, 0)
        others = np.setdiff1d(np.arange(DOCUMENTS), copied)
        np.testing.assert_array_equal(block.included[:, others], plain.included[:, others])
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(block_bytes(block))
        again = read_block(path)
        np.testing.assert_array_equal(again.copies, block.copies)
        check_block(again, number, units, chosen, copied=copied)


def test_numbers_are_independent_of_each_other_and_follow_the_name() -> None:
    settings = design(splits=400, block=400, copies={"documents": CHOSEN[:8]})
    names = DOC_IDS[:60]
    copies = draw_copies(settings, names, 0, 0)
    correlation = np.corrcoef(copies.T.astype(float))[np.triu_indices(60, 1)]
    assert abs(correlation.mean()) < 0.01 and np.abs(correlation).max() < 5 / np.sqrt(400)
    np.testing.assert_array_equal(draw_copies(settings, names[::-1], 0, 0)[:, ::-1], copies)
    assert (draw_copies(settings, names, 1, 0) != copies).any() and (draw_copies(settings, names, 0, 1) != copies).any()
    free = draw_copies(design(base="bernoulli", splits=4000), names, 0, 0)
    shares = np.array([(free == count).mean() for count in (0, 1, 2, 4, 8)])
    np.testing.assert_allclose(shares, 0.2, atol=5 * np.sqrt(0.16 / free.size))


def test_sets_are_removed_beside_copies() -> None:
    rule = Groups.of_labels(DOC_IDS, DOC_IDS[:6], ["s"] * 6)
    chosen = design(splits=80, knockout={"sets": ["topic"], "size_controls": 2})
    block, copied, units = drawn(chosen)
    sets = build_sets(chosen, {"topic": rule}, DOC_IDS, N_TOKENS, 0, copied, units)
    assert not np.isin(copied, sets.members[0]).any()  # control sets leave them alone
    both = remove(block, draw_removed(chosen, sets, 0, 0), sets, units)
    np.testing.assert_array_equal(both.copies, block.copies)
    np.testing.assert_array_equal(both.included[:, copied], block.copies > 0)
    check_block(both, 0, units, chosen, sets, copied)


def test_which_documents_are_copied(tmp_path: Any) -> None:
    units = units_for(design())
    topic = Groups.of_labels(DOC_IDS, DOC_IDS[10:30], ["a"] * 12 + ["b"] * 8)
    by_rule = design(copies={"documents": [], "rule": "topic"})
    assert chosen_for(by_rule, units, topic).tolist() == list(range(10, 30))
    some = design(copies={"documents": [], "rule": "topic", "sample": 5})
    found = chosen_for(some, units, topic)
    assert len(found) == 5 and set(found) <= set(range(10, 30)) and (np.diff(found) > 0).all()
    laddered = design(copies={"documents": [], "sample": 30}, ladder=["pairs"], splits=60)
    sampled = chosen_for(laddered, units_for(laddered), in_sets=np.arange(70, 75))
    assert sampled.min() >= 40 and not np.isin(np.arange(70, 75), sampled).any()  # pairs and sets are left alone
    write_copied(tmp_path / "copied.parquet", sampled, DOC_IDS)
    np.testing.assert_array_equal(read_copied(tmp_path / "copied.parquet"), sampled)


def test_what_cannot_be_copied_is_refused() -> None:
    alone, laddered = units_for(design()), design(ladder=["pairs"], splits=60, copies={"documents": ["d3", "d50"]})
    with pytest.raises(UsageError, match=r"'d3' flips its coin together with 1 more \(rule 'pairs'\); choose others"):
        chosen_for(laddered, units_for(laddered))
    with pytest.raises(UsageError, match=r"'d50' is in a set that design\.knockout removes whole, and 2 more such"):
        chosen_for(design(), alone, in_sets=np.arange(50, 53))
    with pytest.raises(UsageError, match=r"found 'nobody' \(and 1 more\)"):
        chosen_for(design(copies={"documents": ["nobody", "d1", "none"]}), alone)
    with pytest.raises(UsageError, match="in groups of rule 'topic', found none"):
        chosen_for(design(copies={"documents": [], "rule": "topic"}), alone, Groups.of_labels(DOC_IDS, [], []))
    with pytest.raises(UsageError, match=r"at least 90 documents that flip coins of their own alone .* found 80"):
        chosen_for(design(copies={"documents": [], "sample": 90}), alone)
    with pytest.raises(UsageError, match=r"8 copies of document 'd50': expected at most 0\.05 .* found 0\.1"):
        chosen_for(design(max_removed=0.05), alone)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"splits": 30}, "30 splits give each of 5 numbers of copies 6; expected at least 8; use 40 splits"),
        ({"base": "complement"}, "expected the base balanced or bernoulli, found complement"),
        ({"copies": {"counts": [1, 2]}}, r"expected 0 and at least one other number, .* found \[1, 2\]"),
        ({"copies": {"counts": [0, 2, 1]}}, "rising, each once"),
        ({"copies": {"documents": []}}, "to say which documents are copied; found none"),
        ({"copies": {"sample": 3}}, "found both"),
        ({"copies": {"documents": ["d1", "d1"]}}, "every identifier once"),
        ({"splits": 80, "block": 16}, "blocks of 10 splits or a multiple"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        design(**settings)


@pytest.mark.parametrize("copies", [[0, 1, 2], 3, "uuids"])
def test_copies_that_are_no_settings_are_refused(copies: object) -> None:
    with pytest.raises(ValidationError, match="valid dictionary"):
        Design.model_validate({"copies": copies})


def test_damage_is_found() -> None:
    chosen = design()
    block, copied, units = drawn(chosen)
    check_block(block, 0, units, chosen, copied=copied)

    def with_numbers(copies: Any) -> Block:
        return with_copies(block, copies, copied, units)

    more = block.copies.copy()
    more[:, 0] = np.where(more[:, 0] == 4, 8, more[:, 0])
    with pytest.raises(DamagedError, match="numbers of copies are not balanced"):
        check_block(with_numbers(more), 0, units, chosen, copied=copied)
    more[:, 0] = np.where(block.copies[:, 0] == 4, 3, block.copies[:, 0])
    with pytest.raises(DamagedError, match="none of the design's"):
        check_block(with_numbers(more), 0, units, chosen, copied=copied)
    with pytest.raises(DamagedError, match="expected numbers of 11 documents, found 12"):
        check_block(block, 0, units, chosen, copied=copied[:-1])
    gone = block.included.copy()
    gone[:, copied[0]] = False
    damaged = Block(block.asked, block.treated, gone, block.controls, copies=block.copies)
    with pytest.raises(DamagedError, match="a split that has no copy of it"):
        check_block(damaged, 0, units, chosen, copied=copied)
