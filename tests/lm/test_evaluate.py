"""A document's loss is what a plain forward pass over the document alone gives, whatever it was batched with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memo.lm.device import Device
from memo.lm.evaluate import document_losses, token_losses
from memo.lm.train import Setup, new_model


def losses(setup: Setup, model: Any, device: Device, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    return document_losses(model, setup.tokens, setup.offsets, setup.context_tokens, setup.bos, device, **options)


def alone(setup: Setup, model: Any, document: int) -> tuple[float, int]:
    """Plain torch: window by window, each unpadded and alone."""
    text = setup.tokens[setup.offsets[document] : setup.offsets[document + 1]].astype(np.int64)
    total, right = 0.0, 0
    for start in range(0, len(text), setup.context_tokens):
        targets = torch.from_numpy(text[start : start + setup.context_tokens])
        inputs = torch.cat([torch.tensor([setup.bos]), targets[:-1]])
        with torch.no_grad():
            logits = model.eval()(inputs[None]).logits[0]
        total += F.cross_entropy(logits, targets, reduction="sum").item()
        right += int((logits.argmax(-1) == targets).sum())
    return total / len(text), right


@pytest.fixture
def setup(section: dict[str, Any], make_setup: Callable[..., Setup]) -> Setup:
    return make_setup(section)


def test_equals_the_document_alone(setup: Setup, cpu: Device) -> None:
    model = new_model(setup, 0)
    loss, n_correct = losses(setup, model, cpu)
    expected = [alone(setup, model, i) for i in range(24)]
    assert loss.dtype == n_correct.dtype == np.float32
    assert np.allclose(loss, [e[0] for e in expected], atol=1e-5)
    assert n_correct.tolist() == [e[1] for e in expected]
    assert max(np.diff(setup.offsets)) > setup.context_tokens  # windows were needed


def test_equals_the_loss_of_the_library(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(context_tokens=32)
    model = new_model(setup, 0).eval()
    text = torch.from_numpy(setup.tokens[: setup.offsets[1]].astype(np.int64))
    inputs = torch.cat([torch.tensor([setup.bos]), text])[None]  # `labels` are shifted inside
    theirs = model.transformer(inputs[:, :-1]).last_hidden_state  # the last token is never an input
    theirs = model.loss_function(
        model.lm_head(theirs), labels=None, shift_labels=inputs[:, 1:].contiguous(), vocab_size=setup.vocab_size
    )
    assert losses(setup, model, cpu)[0][0] == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 20, 100, 100_000])
def test_batch_size_does_not_matter(setup: Setup, cpu: Device, batch_tokens: int) -> None:
    model = new_model(setup, 0)
    loss, n_correct = losses(setup, model, cpu)
    other, other_correct = losses(setup, model, cpu, batch_tokens=batch_tokens)
    assert np.abs(loss - other).max() < 1e-5
    assert np.array_equal(n_correct, other_correct)


def test_neighbours_and_order_do_not_matter(setup: Setup, cpu: Device) -> None:
    model = new_model(setup, 0)
    loss, _ = losses(setup, model, cpu)
    texts = [setup.tokens[setup.offsets[i] : setup.offsets[i + 1]] for i in range(24)]
    order = np.random.default_rng(0).permutation(24)[:9]
    offsets = np.concatenate([[0], np.cumsum([len(texts[i]) for i in order])])
    tokens = np.concatenate([texts[i] for i in order])
    other, _ = document_losses(model, tokens, offsets, setup.context_tokens, setup.bos, cpu)
    assert np.abs(loss[order] - other).max() < 1e-5


def test_tokens_of_a_document_add_up(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup()
    model = new_model(setup, 0)
    nll, correct = token_losses(model, setup.tokens, setup.offsets, setup.context_tokens, setup.bos, cpu)
    loss, n_correct = losses(setup, model, cpu)
    for i, (begin, end) in enumerate(zip(setup.offsets[:-1], setup.offsets[1:], strict=True)):
        assert loss[i] == pytest.approx(nll[begin:end].mean(dtype=np.float64), rel=1e-6)
        assert n_correct[i] == correct[begin:end].sum()


def test_empty_documents_have_no_loss(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup()
    model = new_model(setup, 0)
    loss, _ = losses(setup, model, cpu)
    offsets = np.insert(setup.offsets, [0, 5, 5, 25], setup.offsets[[0, 5, 5, 24]])
    other, n_correct = document_losses(model, setup.tokens, offsets, setup.context_tokens, setup.bos, cpu)
    empty = np.diff(offsets) == 0
    assert empty.sum() == 4
    assert np.isnan(other[empty]).all()
    assert (n_correct[empty] == 0).all()
    assert np.array_equal(other[~empty], loss)
    nothing = document_losses(model, setup.tokens, np.zeros(3, np.int64), setup.context_tokens, setup.bos, cpu)
    assert np.isnan(nothing[0]).all()


def test_the_model_is_left_as_it_was(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(model={"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.5})
    model = new_model(setup, 0).train()
    first, again = (losses(setup, model, cpu)[0] for _ in range(2))
    assert model.training
    assert np.array_equal(first, again)  # no dropout while measuring
