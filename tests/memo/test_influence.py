"""Influence against a loop over documents and texts, and its diagonal against memorization."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import memo
from memo.estimators import influence, memorization


def drawn(seed: int, models: int, documents: int = 5, texts: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """losses (M, T), included (M, D), valid (M, D)."""
    rng = np.random.default_rng(seed)
    losses = 10 + rng.normal(0, 1.0, (models, texts)).clip(-4) + rng.uniform(-5, 5, texts)
    return losses, rng.random((models, documents)) < 0.5, rng.random((models, documents)) < 0.8


def by_loop(
    losses: np.ndarray, included: np.ndarray, valid: np.ndarray, blocks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """influence, se and degrees, one pair of a document and a text after the other."""
    shape = (included.shape[1], losses.shape[1])
    found = [np.full(shape, np.nan) for _ in range(3)]
    for document in range(shape[0]):
        counts, inside = valid[:, document], included[:, document]
        sides = [counts & inside, counts & ~inside]
        fine = all((side & (blocks == b)).sum() >= 2 for b in set(blocks) for side in sides)
        every = sorted(set(blocks))
        there = [b for b in every if (counts & (blocks == b)).any()]
        on_a_side = {tuple((side & (blocks == b)).sum() for side in sides) for b in there}
        alike = len(there) > 1 and len(on_a_side) == 1 and min(next(iter(on_a_side))) == 1
        strata = [blocks == b for b in every] if fine else [np.ones(len(blocks), dtype=bool)]
        for text in range(shape[1]):
            values = losses[:, text]
            if not all(side.any() for side in sides):
                continue
            gaps = [values[sides[1] & rows].mean() - values[sides[0] & rows].mean() for rows in strata]
            found[0][document, text] = np.mean(gaps)
            if alike:
                here = [
                    values[sides[1] & (blocks == b)].mean() - values[sides[0] & (blocks == b)].mean() for b in there
                ]
                found[1][document, text], found[2][document, text] = (
                    np.std(here, ddof=1) / len(here) ** 0.5,
                    len(here) - 1,
                )
                continue
            groups = [[values[side & rows] for rows in strata] for side in sides]
            if min(len(part) for side in groups for part in side) < 2:
                continue
            terms = np.array([sum(part.var(ddof=1) / len(part) for part in side) for side in groups])
            freedom = []
            for side in groups:
                n = np.array([len(part) for part in side])
                freedom.append((1 / n).sum() ** 2 / (1 / (n**2 * (n - 1))).sum())
            found[1][document, text] = np.sqrt(terms.sum()) / len(strata)
            found[2][document, text] = terms.sum() ** 2 / (terms**2 / freedom).sum()
    return found[0], found[1], found[2]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(3, 24), st.integers(1, 3), st.integers(1, 40))
def test_it_agrees_with_a_loop_whatever_the_blocks_and_chunks(seed: int, models: int, blocks: int, chunk: int) -> None:
    losses, included, valid = drawn(seed, models)
    block_of = np.arange(models) * blocks // models
    found = influence(losses, included, valid, block_of, chunk=chunk)
    expected = by_loop(losses, included, valid, block_of)
    for name, values in zip(("influence", "se", "degrees"), expected, strict=True):
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9, atol=1e-12, err_msg=name)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 4))
def test_a_document_on_itself_is_its_memorization(seed: int, models: int, blocks: int) -> None:
    losses, included, valid = drawn(seed, models, documents=6, texts=6)
    block_of = np.arange(models) * blocks // models
    assume(any((valid[:, d] & included[:, d]).any() and (valid[:, d] & ~included[:, d]).any() for d in range(6)))
    found = influence(losses, included, valid, block_of)
    scores = memorization(losses, included, valid, block_of)
    np.testing.assert_allclose(np.diag(found.influence), scores.memorization, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.diag(found.se), scores.se, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.n_in, scores.n_in)
    np.testing.assert_array_equal(found.n_out, scores.n_out)


def test_a_hand_made_example_is_exact() -> None:
    losses = np.array([[1.0, 5.0], [3.0, 7.0], [6.0, 1.0], [10.0, 3.0]])
    included = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 1, 0]], dtype=bool)
    found = memo.estimators.influence(losses, included)
    # Document 0: text 0 out {6, 10}, in {1, 3}; text 1 out {1, 3}, in {5, 7}. 1: in all. 2: in one only.
    np.testing.assert_allclose(found.influence[0], [8 - 2, 2 - 6], atol=1e-12)
    np.testing.assert_allclose(found.se[0], [np.sqrt(8 / 2 + 2 / 2), np.sqrt(2 / 2 + 2 / 2)], atol=1e-12)
    assert np.isnan(found.influence[1]).all() and np.isnan(found.se[1]).all()
    np.testing.assert_allclose(found.influence[2], [19 / 3 - 1, 11 / 3 - 5], atol=1e-12)
    assert np.isnan(found.se[2]).all()
    assert found.n_in.tolist() == [2, 4, 1] and found.n_out.tolist() == [2, 0, 3]


def test_a_large_level_costs_no_digits() -> None:
    losses, included, valid = drawn(5, 20)
    shifted = influence(losses + 1e6, included, valid)
    plain = influence(losses, included, valid)
    np.testing.assert_allclose(shifted.influence, plain.influence, atol=1e-8)
    np.testing.assert_allclose(shifted.se, plain.se, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"included": np.ones((5, 3), dtype=bool)}, "of the same models"),
        ({"included": np.ones((6, 3))}, "included: expected booleans"),
        ({"valid": np.ones((6, 2), dtype=bool)}, "valid: expected booleans of shape"),
        ({"blocks": np.zeros(4, dtype=int)}, "blocks: expected one per model"),
        (
            {"losses": np.full((6, 2), np.inf)},
            r"losses\[0, 0\]: expected a finite number that is not negative, found inf",
        ),
        ({"chunk": 0}, "chunk: expected at least 1"),
    ],
)
def test_wrong_input_is_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"losses": np.ones((6, 2)), "included": np.ones((6, 3), dtype=bool)}
    with pytest.raises(ValueError, match=message):
        influence(**{**arguments, **change})  # type: ignore[arg-type]
