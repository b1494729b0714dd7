"""Every design: exact balance, prefixes that stay, groups that stay together, order that does not matter."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memo.design_settings import Design
from memo.errors import DamagedError, UsageError
from memo.groups import Groups
from memo.splits import Block, block_bytes, read_block
from memo.units import Units, build_units
from subsets.checks import check_block, check_cells, check_enough_documents
from subsets.designs import draw_block, keys_of_units, resolutions
from subsets.designs.base import counts

Corpus = tuple[list[str], list[np.ndarray]]  # identifiers, and labels of each rule


def design(**fields: object) -> Design:
    return Design.model_validate({"splits": 16, "block": 8, **fields})


def ladder(rules: int, **fields: object) -> Design:
    block = {1: 4, 2: 12, 3: 24}[rules]
    names = [f"rule{number}" for number in range(rules)]
    return Design.model_validate({"splits": 3 * block, "block": block, "ladder": names, **fields})


def groups_of(doc_ids: list[str], labels: np.ndarray) -> Groups:
    return Groups.of_labels(doc_ids, doc_ids, [str(label) for label in labels])


def units_of(doc_ids: list[str], labels: list[np.ndarray], with_documents: bool = False) -> Units:
    rules = {"document": Groups.of_documents(doc_ids)} if with_documents else {}
    return build_units(doc_ids, {**rules, **{f"rule{n}": groups_of(doc_ids, row) for n, row in enumerate(labels)}})


def draw(settings: Design, doc_ids: list[str], units: Units, block: int = 0, seed: int = 0) -> Block:
    return draw_block(settings, keys_of_units(doc_ids, units), units, block, seed)


def documents(number: int) -> tuple[list[str], Units]:
    doc_ids = [f"d{index}" for index in range(number)]
    return doc_ids, units_of(doc_ids, [np.arange(number)])


@st.composite
def corpora(draw_: st.DrawFn, rules: int = 1) -> Corpus:
    """Partitions of 2 to 40 documents; not nested, so that a ladder has to join them."""
    size = draw_(st.integers(2, 40))
    labels = [
        np.array(draw_(st.lists(st.integers(0, 30 // (level + 1)), min_size=size, max_size=size)))
        for level in range(rules)
    ]
    return [f"doc {index}" for index in range(size)], labels


@settings(deadline=None)
@given(corpora(), st.sampled_from([(4, 0.25), (8, 0.5), (8, 0.25), (16, 0.75)]), st.integers(0, 99))
def test_balanced_units_are_in_exactly_the_wanted_number_of_splits(
    corpus: Corpus, shape: tuple[int, float], seed: int
) -> None:
    size, include = shape
    units = units_of(*corpus)
    block = draw(design(splits=size, block=size, include=include), corpus[0], units, seed=seed)
    assert (block.treated.sum(axis=0) == include * size).all()
    assert block.asked.all()


@settings(deadline=None)
@given(corpora(), st.sampled_from([2, 6, 16]), st.integers(0, 99))
def test_splits_of_a_pair_are_opposite(corpus: Corpus, size: int, seed: int) -> None:
    doc_ids, labels = corpus
    units = units_of(doc_ids, labels)
    block = draw(design(splits=size, block=size, base="complement"), doc_ids, units, seed=seed)
    assert block.asked.all()
    np.testing.assert_array_equal(block.included[0::2], ~block.included[1::2])
    for column in labels[0] == labels[0][:, None]:  # (N,) the documents of one group
        assert (block.included[:, column] == block.included[:, column][:, :1]).all()


def test_pairs_of_a_complement_block_are_independent() -> None:
    units = 60_000
    block = draw(design(splits=6, block=6, base="complement"), *documents(units))
    _, numbers = np.unique(block.treated[0::2].T @ [4, 2, 1], return_counts=True)
    assert len(numbers) == 8
    assert ((numbers - units / 8) ** 2 / (units / 8)).sum() < 24.3  # 99.9 % quantile with 7 degrees of freedom


def test_controls_of_a_complement_block_are_in_one_split_of_each_pair() -> None:
    doc_ids, units = documents(4)
    settings_ = design(base="complement")
    coins = draw_block(settings_, keys_of_units(doc_ids, units), units, 0, 0, [f"c{i}" for i in range(500)]).controls
    np.testing.assert_array_equal(coins[0::2], ~coins[1::2])
    assert coins[0::2].mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 2000))


@settings(deadline=None)
@given(st.integers(1, 3).flatmap(lambda n: st.tuples(st.just(n), corpora(rules=n))), st.integers(0, 99))
def test_a_ladder_is_balanced_over_the_splits_in_which_the_parent_was_opened(
    case: tuple[int, Corpus], seed: int
) -> None:
    rules, (doc_ids, labels) = case
    units = units_of(doc_ids, labels, with_documents=True)
    block = draw(ladder(rules), doc_ids, units, seed=seed)
    opened = np.zeros_like(block.asked)
    for unit in np.argsort(-units.sizes, kind="stable"):  # a parent is larger than its parts
        parent, height = units.parents[unit], units.heights[unit]
        reached = np.ones(len(opened), dtype=bool) if parent < 0 else opened[:, parent]
        assert not (block.asked[:, unit] & ~reached).any()
        opened[:, unit] = reached & ~block.asked[:, unit]
        taken, left = block.treated[:, unit].sum(), (block.asked & ~block.treated)[:, unit].sum()
        steps_down = parent < 0 or units.heights[parent] == height + 1
        if steps_down and (reached.sum() * (height - 1)) % height == 0:
            assert opened[:, unit].sum() == reached.sum() * (height - 1) // height
            if (reached.sum() // height) % 2 == 0:
                assert taken == left
        assert abs(int(taken) - int(left)) <= 1


@settings(deadline=None)
@given(st.integers(1, 3).flatmap(lambda n: st.tuples(st.just(n), corpora(rules=n))), st.integers(0, 99))
def test_members_of_a_group_are_never_separated_while_it_is_not_opened(case: tuple[int, Corpus], seed: int) -> None:
    rules, (doc_ids, labels) = case
    units = units_of(doc_ids, labels, with_documents=True)
    block = draw(ladder(rules), doc_ids, units, seed=seed)
    for level in units.chain:
        for unit in np.unique(level):
            decided = block.asked[:, unit]
            columns = block.included[np.ix_(decided, level == unit)]
            assert (columns == block.treated[decided, unit][:, None]).all()
    times_decided = np.zeros(block.included.shape, dtype=int)
    for number, level in enumerate(units.chain):
        new = np.ones(len(level), dtype=bool) if number == 0 else level != units.chain[number - 1]
        times_decided[:, new] += block.asked[:, level[new]]
    assert (times_decided == 1).all()


@settings(deadline=None)
@given(st.integers(0, 2).flatmap(lambda n: st.tuples(st.just(n), corpora(rules=max(n, 1)))))
def test_the_order_of_documents_does_not_matter(case: tuple[int, Corpus]) -> None:
    rules, (doc_ids, labels) = case
    order = np.random.default_rng(len(doc_ids)).permutation(len(doc_ids))
    shuffled_ids = [doc_ids[i] for i in order]
    for settings_ in (
        (design(), design(base="bernoulli"), design(base="complement")) if rules == 0 else (ladder(rules),)
    ):
        units = units_of(doc_ids, labels, with_documents=rules > 0)
        shuffled = units_of(shuffled_ids, [row[order] for row in labels], with_documents=rules > 0)
        np.testing.assert_array_equal(
            draw(settings_, shuffled_ids, shuffled).included, draw(settings_, doc_ids, units).included[:, order]
        )


@pytest.mark.parametrize("settings_", [design(), design(base="bernoulli"), design(base="complement"), ladder(2)])
def test_a_block_does_not_depend_on_the_number_of_blocks(settings_: Design) -> None:
    doc_ids = [f"d{i}" for i in range(50)]
    units = units_of(doc_ids, [np.arange(50) // 2, np.arange(50) // 6], with_documents=bool(settings_.ladder))
    longer = settings_.model_copy(update={"splits": 2 * settings_.splits})
    first = draw(settings_, doc_ids, units).included
    np.testing.assert_array_equal(first, draw(longer, doc_ids, units).included)
    assert not np.array_equal(first, draw(longer, doc_ids, units, block=1).included)


def test_other_documents_do_not_change_a_document_s_coins() -> None:
    few, many = documents(10), documents(100)
    np.testing.assert_array_equal(draw(design(), *few).included, draw(design(), *many).included[:, :10])


@pytest.mark.parametrize(
    "settings_",
    [*(design(include=p, base=b) for p in (0.25, 0.5) for b in ("balanced", "bernoulli")), design(base="complement")],
)
def test_two_independent_units_agree_as_often_as_independent_coins(settings_: Design) -> None:
    block = draw(settings_, *documents(4000))
    same = (block.included[:, 0::2] == block.included[:, 1::2]).mean()
    expected = settings_.include**2 + (1 - settings_.include) ** 2
    # 2,000 pairs x 8 splits; splits of a balanced block are dependent, so the pairs alone are counted.
    assert same == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 2000))


def test_documents_of_two_groups_of_a_ladder_agree_as_often_as_independent_coins() -> None:
    doc_ids = [f"d{i:05}" for i in range(12_000)]
    units = units_of(doc_ids, [np.arange(12_000) // 2, np.arange(12_000) // 6], with_documents=True)
    block = draw(ladder(2), doc_ids, units)
    first, second = block.included[:, 0::12], block.included[:, 6::12]  # one document of two neighbouring families
    assert (first == second).mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 1000))
    assert block.included.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 2000))


def test_every_choice_of_a_balanced_block_is_equally_likely() -> None:
    units = 60_000
    block = draw(design(splits=4, block=4), *documents(units))
    _, numbers = np.unique(block.treated.T @ [8, 4, 2, 1], return_counts=True)
    assert len(numbers) == 6
    chi_square = ((numbers - units / 6) ** 2 / (units / 6)).sum()
    assert chi_square < 20.5  # 99.9 % quantile of chi-square with 5 degrees of freedom


def test_each_rung_of_a_full_chain_gets_the_same_number_of_splits() -> None:
    doc_ids = [f"d{i}" for i in range(8)]
    labels = [np.arange(8) // 2, np.arange(8) // 4, np.zeros(8, dtype=int)]
    units = units_of(doc_ids, labels, with_documents=True)
    assert units.heights.max() == 4
    block = draw(ladder(3), doc_ids, units)
    assert (block.treated.sum(axis=0) == 3).all() and (block.asked.sum(axis=0) == 6).all()
    resolved = resolutions(ladder(3, splits=96), units)
    assert [(r.name, r.groups, r.splits_in) for r in resolved] == [
        ("document", 8, pytest.approx(12)),
        ("rule0", 4, pytest.approx(12)),
        ("rule1", 2, pytest.approx(12)),
        ("rule2", 1, pytest.approx(12)),
    ]
    assert resolved[0].standard_error(noise=0.24) == pytest.approx(0.24 / np.sqrt(6))


def test_shares_add_up() -> None:
    shares = counts(np.array([12, 12, 12, 18]), np.array([1, 2, 3, 2]), 0.5)
    np.testing.assert_allclose(shares, [[0, 6, 8, 9], [6, 3, 2, 4.5], [6, 3, 2, 4.5]])


@settings(deadline=None, max_examples=30)
@given(corpora(rules=2))
def test_a_block_reads_back_as_it_was_drawn(corpus: Corpus) -> None:
    units = units_of(*corpus, with_documents=True)
    drawn = draw(ladder(2), corpus[0], units)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "block.safetensors"
        path.write_bytes(block_bytes(drawn))
        read = read_block(path)
    for name in ("asked", "treated", "included"):
        np.testing.assert_array_equal(getattr(read, name), getattr(drawn, name))


@settings(deadline=None, max_examples=30)
@given(corpora(rules=2), st.integers(0, 9))
def test_what_is_drawn_passes_the_checks(corpus: Corpus, seed: int) -> None:
    doc_ids, labels = corpus
    doc_ids += [f"single {i}" for i in range(12)]  # so that no split is empty
    labels = [np.concatenate([row, 100 + np.arange(12)]) for row in labels]
    units = units_of(doc_ids, labels, with_documents=True)
    check_block(draw(ladder(2), doc_ids, units, seed=seed), 0, units, ladder(2))


def test_checks_name_what_is_wrong() -> None:
    doc_ids, units = documents(6)
    good = draw(design(), doc_ids, units)
    check_block(good, 0, units, design())
    flipped = good.included.copy()
    flipped[0, 0] ^= True
    with pytest.raises(DamagedError, match="does not follow"):
        check_block(Block(good.asked, good.treated, flipped, good.controls), 0, units, design())
    lopsided = good.included.copy()
    lopsided[:, 0] = True
    with pytest.raises(DamagedError, match="not balanced"):
        check_block(Block(good.asked, lopsided, lopsided, good.controls), 0, units, design())
    unasked = good.asked.copy()
    unasked[:, 0] = False
    with pytest.raises(DamagedError, match=r"does not follow|without a coin"):
        check_block(Block(unasked, good.treated, good.included, good.controls), 0, units, design())
    alike = draw(design(base="complement"), doc_ids, units).treated
    alike[:4, 0], alike[4:, 0] = [True, True, False, False], [True, False, True, False]  # balanced, but not opposite
    with pytest.raises(DamagedError, match="not opposite"):
        check_block(Block(good.asked, alike, alike, good.controls), 0, units, design(base="complement"))
    nobody = np.zeros_like(good.included)
    with pytest.raises(UsageError, match="no document to train on"):
        check_block(Block(good.asked, nobody, nobody, good.controls), 0, units, design(base="bernoulli"))


def test_a_corpus_of_one_unit_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(UsageError, match="at least 2 that move apart, found 1 document"):
        check_enough_documents(documents(1)[1])
    three = [f"d{i}" for i in range(3)]
    with pytest.raises(UsageError, match="3 documents in 1 group of 'rule0'"):
        check_enough_documents(units_of(three, [np.zeros(3)]))


def test_a_ladder_with_too_few_splits_is_refused_with_the_number_that_would_do() -> None:
    doc_ids = [f"d{i}" for i in range(8)]
    units = units_of(doc_ids, [np.arange(8) // 2, np.arange(8) // 4], with_documents=True)
    small = ladder(2)  # 36 splits: 6 on a side of each rung
    with pytest.raises(UsageError, match="36 splits give the rung 'document' 6 on a side; expected at least 8; use 48"):
        check_cells(resolutions(small, units), small)
    enough = ladder(2, splits=48)
    check_cells(resolutions(enough, units), enough)
    no_groups = units_of(doc_ids, [np.arange(8), np.arange(8)], with_documents=True)
    check_cells(resolutions(small, no_groups), small)
