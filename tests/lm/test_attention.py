"""Attention that is exchanged: the same function where it is taken, the model's own where it would not be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memo.lm import train
from memo.lm.attention import BFLOAT16, _bfloat16_or_fused, use_bfloat16_attention
from memo.lm.device import Device
from memo.lm.train import Setup, new_model, train_split

HALF = np.arange(0, 24, 2)


@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_written_out_is_causal_attention(heads: int, scale: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 9, 8), (3, heads, 9, 8), (3, heads, 9, 8)]
    exact = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    rough = [part.detach().clone().requires_grad_() for part in exact]
    expected = F.scaled_dot_product_attention(*exact, is_causal=True, scale=scale, enable_gqa=heads < 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = _bfloat16_or_fused(*rough, scale, heads < 4)
    assert found.dtype == torch.bfloat16 and torch.allclose(found.float(), expected, atol=0.03)
    weight = torch.randn(expected.shape, generator=generator)
    (expected * weight).sum().backward()  # type: ignore[no-untyped-call]
    (found.float() * weight).sum().backward()  # type: ignore[no-untyped-call]
    for mine, theirs in zip(rough, exact, strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert torch.allclose(mine.grad, theirs.grad, atol=0.03 * float(theirs.grad.abs().max()))
    with torch.no_grad():  # in float32 it is the fused one itself
        assert torch.equal(_bfloat16_or_fused(*exact, scale, heads < 4), expected)


def test_training_is_near_that_with_fused_attention(
    section: dict[str, Any], make_setup: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, device = make_setup(section, learning_rate=2e-3), Device("cpu", "bfloat16")
    found = train_split(setup, 3, HALF, device)
    assert found.model.config._attn_implementation == BFLOAT16
    monkeypatch.setattr(train, "use_bfloat16_attention", lambda model: None)
    expected = train_split(setup, 3, HALF, device)
    assert expected.model.config._attn_implementation != BFLOAT16
    assert np.abs(found.loss - expected.loss).max() < 0.03


def test_other_attention_stays_as_it_is(make_setup: Callable[..., Setup]) -> None:
    section = {
        "model_type": "mistral",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "sliding_window": 4,
    }
    model = new_model(make_setup(section), 0)
    before = model.config._attn_implementation
    use_bfloat16_attention(model)
    assert model.config._attn_implementation == before
