"""Cutting the model before its output layer changes neither losses nor gradients."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from memo.lm.model import build_config, build_model
from memo.lm.readout import Readout

SOFT_CAPPED = {
    "model_type": "gemma2",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
BIASED = {"model_type": "gptj", "n_embd": 32, "n_layer": 1, "n_head": 2, "rotary_dim": 8}


def model_of(section: dict[str, Any]) -> Any:
    return build_model(build_config(section, 40, 16, 0), 1)


def gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return [parameter.grad.clone() for parameter in model.parameters()]


def check(model: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randint(0, 40, (2, 12, 16), generator=generator)
    targets = targets.flatten()
    expected = F.cross_entropy(model(inputs).logits.flatten(0, 1), targets)
    wanted = gradients(model, expected)
    readout = Readout(model)
    readout.chunk = 50  # 192 targets: the last chunk is short
    rows = readout.features(inputs).flatten(0, 1)
    nll, _ = readout.token_losses(rows, targets)
    assert nll.mean().item() == pytest.approx(expected.item(), abs=1e-6)
    loss = readout.mean_loss(rows, targets, torch.float32)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for got, want in zip(gradients(model, loss), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-6)


def test_cut_models_agree_with_themselves(section: dict[str, Any]) -> None:
    model = model_of(section)
    assert Readout(model).head is model.get_output_embeddings()
    check(model)


def test_an_output_layer_with_a_bias() -> None:
    check(model_of(BIASED))


def test_soft_capping_is_noticed_although_new_logits_are_small() -> None:
    model = model_of(SOFT_CAPPED)
    assert Readout(model).head is None
    check(model)


def test_an_unlikely_target_has_a_finite_loss() -> None:
    model = model_of({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2})
    with torch.no_grad():
        model.lm_head.weight.mul_(5000)
    readout = Readout(model)
    inputs = torch.arange(16).view(1, 16)
    rows, targets = readout.features(inputs).flatten(0, 1), torch.arange(16) + 1
    logits = model(inputs).logits.flatten(0, 1).detach()
    assert F.softmax(logits, dim=1).gather(1, targets[:, None]).min() == 0  # the probability itself underflows
    loss = readout.mean_loss(rows, targets, torch.float32)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-5)


def test_bfloat16_is_near() -> None:
    model = model_of({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2})
    readout = Readout(model)
    rows, targets = readout.features(torch.arange(16).view(1, 16)).flatten(0, 1), torch.arange(16)
    exact, rough = (readout.mean_loss(rows, targets, dtype).item() for dtype in (torch.float32, torch.bfloat16))
    assert rough == pytest.approx(exact, abs=0.02)
    assert rough != exact
