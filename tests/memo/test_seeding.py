"""Streams are independent, repeatable, and belong to names."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from memo.seeding import generator, key, streams, uniforms, unit_keys


def test_streams_depend_on_seed_and_name_alone() -> None:
    first = generator("order", 3, 1, seed=7).random(4)
    np.testing.assert_array_equal(first, generator("order", 3, 1, seed=7).random(4))
    others = [generator("order", 31, seed=7), generator("order", 3, 1, seed=8), generator("init", 3, 1, seed=7)]
    assert all(not np.array_equal(first, other.random(4)) for other in others)


@given(st.lists(st.one_of(st.integers(0, 99), st.text(max_size=3)), max_size=3))
def test_keys_fit_every_library(name: list[int | str]) -> None:
    assert 0 <= key(*name, seed=0) < 2**63


def test_joined_names_are_not_equal_names() -> None:
    assert key("a", "b", seed=0) != key("ab", seed=0)
    assert key("a", 1, seed=0) != key("a", "1", seed=0)


def test_a_unit_has_its_own_stream_whatever_stands_beside_it() -> None:
    ids = [f"d{i}" for i in range(100)]
    together = uniforms(streams(unit_keys(ids), "design", 0, seed=0), draw=5)
    alone = uniforms(streams(unit_keys(["d42"]), "design", 0, seed=0), draw=5)
    assert together[42] == alone[0]


def test_uniforms_look_uniform_and_independent() -> None:
    keys = unit_keys(str(i) for i in range(50_000))
    first, second = (uniforms(streams(keys, "design", 0, seed=0), draw) for draw in (0, 1))
    other_block = uniforms(streams(keys, "design", 1, seed=0), 0)
    assert first.min() >= 0 and first.max() < 1
    assert abs(first.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 50_000)
    for other in (second, other_block, np.roll(first, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(50_000)
