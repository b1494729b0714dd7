"""Every token is a target once, every window stands in an epoch once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memo.lm.batches import IGNORED, collate, counted, epoch_order, windows

BOS = 0


def order(lengths: np.ndarray, batch_size: int, own: int, shared: int = 0) -> list[np.ndarray]:
    return epoch_order(lengths, batch_size, np.random.default_rng(own), np.random.default_rng(shared))


def offsets_of(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 12), st.integers(1, 7), st.integers(0, 99))
@settings(deadline=None)
def test_every_token_is_a_target_once_and_every_window_opens_with_bos(
    lengths: list[int], context_tokens: int, batch_size: int, seed: int
) -> None:
    offsets = offsets_of(lengths)
    tokens = np.arange(1, offsets[-1] + 1, dtype=np.int32)  # each token is its own name
    table = windows(offsets, context_tokens)
    seen: list[int] = []
    for indices in order(table.length, batch_size, seed):
        assert 0 < len(indices) <= batch_size
        inputs, targets = collate(tokens, table, indices, BOS)
        assert inputs.shape == targets.shape == (len(indices), table.length[indices].max())
        assert inputs.shape[1] <= context_tokens
        for row, wanted in zip(inputs.numpy(), targets.numpy(), strict=True):
            inside = wanted[wanted != IGNORED]
            assert row[0] == BOS
            assert np.array_equal(row[1 : len(inside)], inside[:-1])
            assert (wanted[len(inside) :] == IGNORED).all()  # padding is on the right
            seen += inside.tolist()
    assert sorted(seen) == tokens.tolist()


def test_windows_by_hand() -> None:
    table = windows(offsets_of([5, 0, 2]), context_tokens=2)
    assert table.start.tolist() == [0, 2, 4, 5]
    assert table.length.tolist() == [2, 2, 1, 2]
    assert table.document.tolist() == [0, 0, 0, 2]


def test_chosen_documents_and_copies() -> None:
    table = windows(offsets_of([5, 3, 2]), 4, np.array([0, 2, 2]))
    assert table.start.tolist() == [0, 4, 8, 8]
    assert table.document.tolist() == [0, 0, 2, 2]


def test_an_epoch_has_as_many_steps_as_full_batches_and_one_short_one() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 1003)
    batches = order(lengths, 16, 1)
    assert sorted(len(batch) for batch in batches) == [11] + [16] * 62
    assert sorted(np.concatenate(batches).tolist()) == list(range(1003))


def test_orders_differ_by_epoch_and_repeat_by_seed() -> None:
    lengths = np.full(100, 5)
    first, again, other = (np.concatenate(order(lengths, 8, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def padding_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    computed = sum(len(batch) * lengths[batch].max() for batch in batches)
    return 1 - sum(lengths[batch].sum() for batch in batches) / computed


def test_sorting_inside_megabatches_leaves_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 128, 4000)
    rng = np.random.default_rng(1)
    assert padding_share(lengths, order(lengths, 16, 1)) < 0.04
    assert padding_share(lengths, np.split(rng.permutation(4000), 250)) > 0.3


def stack_padding(lengths: np.ndarray, members: int, shared: int | None = None) -> float:
    """Of random halves that take their steps together; with one sequence of lengths for all, or one each."""
    rng = np.random.default_rng(0)
    halves = [lengths[rng.random(len(lengths)) < 0.5] for _ in range(members)]
    orders = [order(half, 16, e, e if shared is None else shared) for e, half in enumerate(halves)]
    computed = used = 0
    for step in range(max(map(len, orders))):
        active = [half[batches[step]] for half, batches in zip(halves, orders, strict=True) if step < len(batches)]
        computed += 16 * len(active) * max(batch.max() for batch in active)
        used += sum(int(batch.sum()) for batch in active)
    return 1 - used / computed


def test_splits_that_train_side_by_side_need_little_padding() -> None:
    lengths = np.minimum(np.random.default_rng(0).gamma(4, 10, 10_000).astype(int) + 1, 128)
    assert stack_padding(lengths, 16, shared=7) < 0.05
    assert stack_padding(lengths[:2000], 16, shared=7) < 0.1
    assert stack_padding(lengths[:2000], 16) > 0.3


def test_splits_share_when_long_batches_come_but_not_when_a_document_does() -> None:
    lengths = np.random.default_rng(0).integers(1, 128, 2000)
    orders = [order(lengths, 16, own, shared=7) for own in range(40)]
    longest = np.array([[lengths[batch].max() for batch in batches] for batches in orders])  # (splits, steps)
    assert np.corrcoef(longest).min() > 0.99
    place = np.empty((40, 2000))
    for row, batches in zip(place, orders, strict=True):
        for step, batch in enumerate(batches):
            row[batch] = step / len(batches)
    assert place.mean(axis=0).var() - place.var(axis=0).mean() / 40 < 0.15 * place.var()


def test_no_length_comes_early_or_late() -> None:
    lengths = np.random.default_rng(0).integers(1, 128, 2000)
    for seed in range(20):
        longest = np.array([lengths[batch].max() for batch in order(lengths, 16, seed, seed)])
        thirds = [part.mean() for part in np.array_split(longest, 3)]
        assert max(thirds) / min(thirds) < 1.15


def test_short_and_long_documents_stand_in_the_short_batch_alike() -> None:
    lengths = np.arange(1, 101)
    short = [next(b for b in order(lengths, 16, seed) if len(b) == 4) for seed in range(400)]
    assert lengths[np.concatenate(short)].mean() == pytest.approx(50.5, abs=3)


def test_counted_places() -> None:
    tokens = np.arange(1, 9, dtype=np.int32)
    table = windows(offsets_of([3, 1]), 8)
    _, targets = collate(tokens, table, np.array([0, 1]), BOS, pad=7)
    places, wanted = counted(targets)
    assert places.tolist() == [0, 1, 2, 3]
    assert wanted.tolist() == [1, 2, 3, 4]
