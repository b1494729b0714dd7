"""Every design: exact balance, prefixes that stay, groups that stay together, order that does not matter."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memo.config import Design
from memo.errors import DamagedError, UsageError
from memo.groups import Groups
from memo.seeding import unit_keys
from memo.splits import Block, block_bytes, read_block
from subsets.checks import check_block, check_enough_documents
from subsets.designs import draw_block, unit_identifiers


def design(**fields: object) -> Design:
    return Design.model_validate({"splits": 16, "block": 8, **fields})


def draw(settings: Design, doc_ids: list[str], unit_of: np.ndarray, block: int = 0, seed: int = 0) -> Block:
    return draw_block(settings, unit_keys(unit_identifiers(doc_ids, unit_of)), unit_of, block, seed)


@st.composite
def corpora(draw_: st.DrawFn) -> tuple[list[str], np.ndarray]:
    labels = draw_(st.lists(st.integers(0, 8), min_size=2, max_size=40))
    doc_ids = [f"doc {index}" for index in range(len(labels))]
    groups = Groups.of_labels(doc_ids, doc_ids, [str(label) for label in labels])
    return doc_ids, groups.units()


@settings(deadline=None)
@given(corpora(), st.sampled_from([(4, 0.25), (8, 0.5), (8, 0.25), (16, 0.75)]), st.integers(0, 99))
def test_balanced_units_are_in_exactly_the_wanted_number_of_splits(
    corpus: tuple[list[str], np.ndarray], shape: tuple[int, float], seed: int
) -> None:
    doc_ids, unit_of = corpus
    size, include = shape
    block = draw(design(splits=size, block=size, include=include), doc_ids, unit_of, seed=seed)
    assert (block.treated.sum(axis=0) == include * size).all()
    assert block.asked.all()


@settings(deadline=None)
@given(corpora(), st.sampled_from(["balanced", "bernoulli"]), st.integers(0, 99))
def test_members_of_a_unit_are_never_separated(corpus: tuple[list[str], np.ndarray], base: str, seed: int) -> None:
    doc_ids, unit_of = corpus
    block = draw(design(base=base), doc_ids, unit_of, seed=seed)
    for unit in range(unit_of.max() + 1):
        columns = block.included[:, unit_of == unit]
        assert (columns == columns[:, :1]).all()


@settings(deadline=None)
@given(corpora(), st.sampled_from(["balanced", "bernoulli"]))
def test_the_order_of_documents_does_not_matter(corpus: tuple[list[str], np.ndarray], base: str) -> None:
    doc_ids, unit_of = corpus
    order = np.random.default_rng(len(doc_ids)).permutation(len(doc_ids))
    shuffled_ids = [doc_ids[i] for i in order]
    labels = [str(unit_of[i]) for i in order]
    shuffled_units = Groups.of_labels(shuffled_ids, shuffled_ids, labels).units()
    block = draw(design(base=base), doc_ids, unit_of)
    shuffled = draw(design(base=base), shuffled_ids, shuffled_units)
    np.testing.assert_array_equal(shuffled.included, block.included[:, order])


@pytest.mark.parametrize("base", ["balanced", "bernoulli"])
def test_more_splits_leave_the_first_ones_bit_identical(base: str) -> None:
    doc_ids, unit_of = [f"d{i}" for i in range(50)], np.arange(50)
    short, long = design(splits=8, base=base), design(splits=16, base=base)
    np.testing.assert_array_equal(draw(short, doc_ids, unit_of).included, draw(long, doc_ids, unit_of).included)
    assert not np.array_equal(draw(long, doc_ids, unit_of, 0).included, draw(long, doc_ids, unit_of, 1).included)


def test_other_documents_do_not_change_a_document_s_coins() -> None:
    few, many = [f"d{i}" for i in range(10)], [f"d{i}" for i in range(100)]
    block = draw(design(), many, np.arange(100))
    np.testing.assert_array_equal(draw(design(), few, np.arange(10)).included, block.included[:, :10])


@pytest.mark.parametrize("base", ["balanced", "bernoulli"])
@pytest.mark.parametrize("include", [0.25, 0.5])
def test_two_independent_units_agree_as_often_as_independent_coins(base: str, include: float) -> None:
    units = 4000
    doc_ids, unit_of = [f"d{i}" for i in range(units)], np.arange(units)
    block = draw(design(base=base, include=include), doc_ids, unit_of)
    same = (block.included[:, 0::2] == block.included[:, 1::2]).mean()
    expected = include**2 + (1 - include) ** 2
    # 2,000 pairs x 8 splits; splits of a balanced block are dependent, so the pairs alone are counted.
    assert same == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / (units / 2)))


def test_every_choice_of_a_balanced_block_is_equally_likely() -> None:
    units = 60_000
    block = draw(design(splits=4, block=4), [f"d{i}" for i in range(units)], np.arange(units))
    _, counts = np.unique(block.treated.T @ [8, 4, 2, 1], return_counts=True)
    assert len(counts) == 6
    chi_square = ((counts - units / 6) ** 2 / (units / 6)).sum()
    assert chi_square < 20.5  # 99.9 % quantile of chi-square with 5 degrees of freedom


@settings(deadline=None, max_examples=30)
@given(corpora())
def test_a_block_reads_back_as_it_was_drawn(corpus: tuple[list[str], np.ndarray]) -> None:
    doc_ids, unit_of = corpus
    drawn = draw(design(), doc_ids, unit_of)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "block.safetensors"
        path.write_bytes(block_bytes(drawn))
        read = read_block(path)
    for name in ("asked", "treated", "included"):
        np.testing.assert_array_equal(getattr(read, name), getattr(drawn, name))


def test_checks_name_what_is_wrong() -> None:
    unit_of = np.arange(6)
    good = draw(design(), [f"d{i}" for i in range(6)], unit_of)
    check_block(good, 0, unit_of, design())
    flipped = good.included.copy()
    flipped[0, 0] ^= True
    with pytest.raises(DamagedError, match="does not follow"):
        check_block(Block(good.asked, good.treated, flipped), 0, unit_of, design())
    with pytest.raises(DamagedError, match="not balanced"):
        check_block(Block(good.asked, flipped, flipped), 0, unit_of, design())
    nobody = np.zeros_like(good.included)
    with pytest.raises(UsageError, match="no document to train on"):
        check_block(Block(good.asked, nobody, nobody), 0, unit_of, design(base="bernoulli"))


def test_a_corpus_of_one_unit_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(UsageError, match="at least 2 units, found 1 documents"):
        check_enough_documents(1, np.array([0]), design())
    with pytest.raises(UsageError, match="3 documents in 1 unit"):
        check_enough_documents(3, np.array([0, 0, 0]), design())
