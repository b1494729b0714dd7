"""One step of a stack, its optimizer, its batches and its evaluation against the same of one model."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memo.lm.acceleration import candidates, choose_acceleration
from memo.lm.batches import IGNORED, collate, counted, windows
from memo.lm.device import Device
from memo.lm.evaluate import document_losses
from memo.lm.readout import Readout
from memo.lm.stack import stacked_model
from memo.lm.stack_step import round_up
from memo.lm.stackable import why_not
from memo.lm.stacked_evaluate import stacked_document_losses
from memo.lm.stacked_model import StackedModel, cut_windows
from memo.lm.stacked_optimizer import StackedAdamW
from memo.lm.train import Setup, new_model, parameter_groups

SPLITS = [0, 1, 2]
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
MORE_MODELS: dict[str, dict[str, Any]] = {
    "gpt2, untied": {**GPT2, "tie_word_embeddings": False},
    "llama, tied": {**LLAMA, "tie_word_embeddings": True},
    "logits scaled": {"model_type": "granite", **SMALL, "logits_scaling": 2.0},
    "output layer with a bias": {"model_type": "phi", **SMALL},
    "normalized queries": {"model_type": "qwen3", **SMALL, "num_key_value_heads": 1, "head_dim": 16},
    "window of the whole context": {"model_type": "mistral", **SMALL, "num_key_value_heads": 1, "sliding_window": 16},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "dropout": ({**GPT2, "embd_pdrop": 0.1}, "dropout (embd_pdrop 0.1)"),
    "sliding": (
        {"model_type": "mistral", **SMALL, "num_key_value_heads": 1, "sliding_window": 8},
        "slides (sliding_window 8 of 16",
    ),
    "soft-capping": (
        {"model_type": "gemma2", **SMALL, "num_key_value_heads": 1, "head_dim": 16},
        "soft-capped (attn_logit_softcapping 50.0)",
    ),
    "experts": (
        {"model_type": "mixtral", **SMALL, "num_key_value_heads": 1, "num_local_experts": 2},
        "mixture of experts (num_",
    ),
    "own attention": ({"model_type": "gptj", "n_embd": 32, "n_layer": 1, "n_head": 2, "rotary_dim": 8}, "code of its"),
}


def batch_of(setup: Setup, lengths: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of these lengths from anywhere in the tokens: (E, B, T) inputs and targets."""
    length = torch.tensor(lengths)
    start = torch.arange(length.numel()).view_as(length) * 5
    return cut_windows(torch.from_numpy(setup.tokens), start, length, int(length.max()), setup.bos)


def one_step(setup: Setup, device: Device, inputs: torch.Tensor, targets: torch.Tensor, rates: list[float]) -> Any:
    model = stacked_model(setup, SPLITS, device)
    optimizer = StackedAdamW(model.weights, 0.1, 1.0)
    losses = model.losses(inputs, targets)
    model.weights.differentiate(losses)
    gradient = model.weights.gradient.clone()
    optimizer.step(torch.tensor(rates), torch.tensor(rates) > 0)
    return model, losses.detach(), gradient


def check_one_step(setup: Setup, device: Device) -> None:
    inputs, targets = batch_of(setup, [[16, 3, 9, 16], [2, 2, 1, 5], [16, 16, 0, 0]])
    model, losses, gradient = one_step(setup, device, inputs, targets, [5e-3, 3e-3, 1e-3])
    for e, (split, rate) in enumerate(zip(SPLITS, [5e-3, 3e-3, 1e-3], strict=True)):
        alone = new_model(setup, split).train()
        optimizer = torch.optim.AdamW(parameter_groups(alone, 0.1), lr=rate, fused=True)
        places, wanted = counted(targets[e])
        readout = Readout(alone)
        loss = readout.mean_loss(readout.features(inputs[e]).flatten(0, 1)[places], wanted, torch.float32)
        loss.backward()  # type: ignore[no-untyped-call]
        assert abs(loss.item() - losses[e].item()) < 1e-5
        for name, parameter in alone.named_parameters():
            slot = model.weights.layout.slots[name]
            assert parameter.grad is not None
            mine = gradient[e, slot.begin : slot.end].view(slot.shape)
            assert (mine - parameter.grad).abs().max() < 1e-5, name
        torch.nn.utils.clip_grad_norm_(alone.parameters(), 1.0)
        optimizer.step()
        for name, parameter in alone.named_parameters():
            # AdamW's first step gives a gradient that is only rounding noise as much weight as any other
            felt = parameter.grad.abs() > 1e-6
            assert (model.weights.parameters[name][e] - parameter)[felt].abs().max() < 1e-5, name


def test_one_step_is_the_step_alone(section: dict[str, Any], make_setup: Callable[..., Setup], cpu: Device) -> None:
    check_one_step(make_setup(section), cpu)


@pytest.mark.parametrize("name", MORE_MODELS)
def test_one_step_of_other_models(name: str, make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(MORE_MODELS[name])
    assert why_not(setup, cpu) is None
    check_one_step(setup, cpu)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_stack_would_get_wrong_is_refused_by_name(
    name: str, make_setup: Callable[..., Setup], cpu: Device
) -> None:
    section, reason = REFUSED[name]
    assert reason in (why_not(make_setup(section), cpu) or "it was taken")


def test_a_stack_that_computes_something_else_is_not_trusted(
    make_setup: Callable[..., Setup], cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sharper(*arguments: Any, scale: float, **options: Any) -> torch.Tensor:
        return F.scaled_dot_product_attention(*arguments, scale=1.5 * scale, **options)

    monkeypatch.setattr("memo.lm.stacked_attention.F", SimpleNamespace(scaled_dot_product_attention=sharper))
    monkeypatch.setattr("memo.lm.stackable._known", {})
    setup = make_setup(GPT2)
    assert "a stack gives its loss as" in (why_not(setup, cpu) or "")


def test_members_that_are_not_active_do_not_move(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(GPT2)
    model = stacked_model(setup, SPLITS, cpu)
    optimizer = StackedAdamW(model.weights, 0.1, 1.0)
    inputs, targets = batch_of(setup, [[16, 3], [4, 4], [5, 6]])
    for active in ([True, True, True], [True, False, True]):
        before = [part[1].clone() for part in (model.weights.values, optimizer.exp_avg, optimizer.exp_avg_sq)]
        others = model.weights.values[[0, 2]].clone()
        model.weights.differentiate(model.losses(inputs, targets))
        optimizer.step(torch.full((3,), 1e-2), torch.tensor(active))
        assert not torch.equal(others[0], model.weights.values[0])
        after = [part[1] for part in (model.weights.values, optimizer.exp_avg, optimizer.exp_avg_sq)]
        assert all(map(torch.equal, before, after)) is not active[1]
    assert optimizer.steps.tolist() == [2, 1, 2]


def test_nothing_of_a_broken_member_gets_into_others(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(GPT2)
    inputs, targets = batch_of(setup, [[16, 3], [4, 4], [5, 6]])
    whole, broken = (stacked_model(setup, SPLITS, cpu) for _ in range(2))
    with torch.no_grad():
        broken.weights.values[1] = torch.nan
        broken.weights.values[1, 5:9] = torch.inf
    rates, active = torch.full((3,), 1e-2), torch.ones(3, dtype=torch.bool)
    for model in (whole, broken):
        optimizer = StackedAdamW(model.weights, 0.1, 1.0)
        for _ in range(3):
            losses = model.losses(inputs, targets)
            model.weights.differentiate(losses)
            optimizer.step(rates, active)
    assert losses.isnan().tolist() == [False, True, False]
    assert torch.equal(whole.weights.values[[0, 2]], broken.weights.values[[0, 2]])


def test_the_optimizer_equals_that_of_torch(make_setup: Callable[..., Setup], cpu: Device) -> None:
    """Members with rates of their own, one of which pauses, over 30 steps of random gradients, some clipped."""
    setup = make_setup(GPT2)
    model = stacked_model(setup, SPLITS, cpu)
    optimizer = StackedAdamW(model.weights, 0.1, 1.0)
    alone = [new_model(setup, split) for split in SPLITS]
    theirs = [torch.optim.AdamW(parameter_groups(one, 0.1), lr=1.0, fused=True) for one in alone]
    generator = torch.Generator().manual_seed(0)
    for step in range(30):
        rates = torch.rand(3, generator=generator) * 1e-2
        active = torch.tensor([True, step % 3 > 0, step < 20])
        model.weights.gradient.zero_()
        for e, (one, adam) in enumerate(zip(alone, theirs, strict=True)):
            for name, parameter in one.named_parameters():
                slot = model.weights.layout.slots[name]
                parameter.grad = torch.randn(slot.shape, generator=generator) * 10.0 ** -(step % 4)
                model.weights.gradient[e, slot.begin : slot.end] = parameter.grad.flatten()
            if active[e]:
                torch.nn.utils.clip_grad_norm_(one.parameters(), 1.0)
                for group in adam.param_groups:
                    group["lr"] = float(rates[e])
                adam.step()
        optimizer.step(rates, active)
    for e, one in enumerate(alone):
        for name, parameter in one.named_parameters():
            assert (model.weights.parameters[name][e] - parameter).abs().max() < 1e-6, name


def test_windows_are_cut_as_by_collate(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup()
    table = windows(setup.offsets, setup.context_tokens)
    indices = np.array([3, 0, 8])
    inputs, targets = collate(setup.tokens, table, indices, setup.bos)
    start, length = (torch.from_numpy(part[indices]) for part in (table.start, table.length))
    tokens = torch.from_numpy(setup.tokens)
    mine, wanted = cut_windows(tokens, start, length, inputs.shape[1], setup.bos)
    assert torch.equal(wanted, targets)
    assert torch.equal(mine[targets != IGNORED], inputs[targets != IGNORED])
    inputs, targets = cut_windows(tokens, start, torch.zeros_like(length), 4, setup.bos)
    assert (inputs == setup.bos).all() and (targets == IGNORED).all()


@pytest.mark.parametrize("batch_tokens", [None, 1, 200])
def test_documents_are_evaluated_as_alone(
    section: dict[str, Any], batch_tokens: int | None, make_setup: Callable[..., Setup], cpu: Device
) -> None:
    setup = make_setup(section)
    offsets = np.insert(setup.offsets, [0, 5, 5, 25], setup.offsets[[0, 5, 5, 24]])  # some are empty
    model = stacked_model(setup, SPLITS, cpu)
    tokens = torch.from_numpy(setup.tokens)
    loss, n_correct = stacked_document_losses(model, tokens, offsets, setup.context_tokens, setup.bos, batch_tokens)
    assert loss.dtype == n_correct.dtype == np.float32
    for e, split in enumerate(SPLITS):
        arguments = (setup.tokens, offsets, setup.context_tokens, setup.bos, cpu)
        expected, right = document_losses(new_model(setup, split), *arguments)
        assert np.allclose(loss[e], expected, atol=1e-5, equal_nan=True)
        assert np.array_equal(n_correct[e], right)
    assert model.skeleton.training
    nothing, _ = stacked_document_losses(model, tokens, np.zeros(3, np.int64), setup.context_tokens, setup.bos)
    assert np.isnan(nothing).all() and nothing.shape == (3, 2)


def test_frozen_weights_stay(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(GPT2)
    skeleton, other = new_model(setup, 0), new_model(setup, 1)
    skeleton.transformer.wpe.weight.requires_grad_(False)
    model = StackedModel(skeleton, 1, cpu)
    model.weights.put(0, other)
    optimizer = StackedAdamW(model.weights, 0.1, 1.0)
    model.weights.differentiate(model.losses(*batch_of(setup, [[5, 6]])))
    optimizer.step(torch.tensor([1e-2]), torch.tensor([True]))
    weights = model.weights.parameters
    assert torch.equal(weights["transformer.wpe.weight"][0], other.transformer.wpe.weight)
    assert not torch.equal(weights["transformer.ln_f.bias"][0], other.transformer.ln_f.bias)


def test_only_matrices_decay(section: dict[str, Any], make_setup: Callable[..., Setup], cpu: Device) -> None:
    model = stacked_model(make_setup(section), [0], cpu)
    layout = model.weights.layout
    for name, parameter in new_model(make_setup(section), 0).named_parameters():
        assert (layout.slots[name].end <= layout.decayed) == (parameter.ndim >= 2), name


def test_the_fastest_way_is_chosen_and_said() -> None:
    events: list[dict[str, Any]] = []
    spent = {"plain": 3e-3, "graphs": 1e-3, "compiled graphs": 5e-4, "broken": 0.0, "large": 0.0}

    def take(name: str) -> Any:
        if name == "broken":
            raise RuntimeError("no\nluck")
        if name == "large":
            raise torch.OutOfMemoryError
        return name

    def try_out(name: Any) -> None:
        time.sleep(spent[name])

    ways = {name: (lambda name=name: take(name)) for name in ("plain", "broken", "large", "graphs", "compiled graphs")}
    assert choose_acceleration(ways, try_out, events.append, steps_left=10) == "graphs"  # type: ignore[comparison-overlap]
    assert events[-1]["chosen"] == "graphs" and set(events[-1]["milliseconds"]) == {"plain", "graphs"}
    reason = events[-1]["reason"]
    assert "broken: RuntimeError: no luck" in reason and "large: out of memory" in reason and "short" in reason
    assert choose_acceleration(ways, try_out, events.append, 10**9) == "compiled graphs"  # type: ignore[comparison-overlap]
    spent["plain"] = 1e-3
    assert choose_acceleration(ways, try_out, events.append, steps_left=10) == "plain"  # type: ignore[comparison-overlap]
    ways["plain"] = ways["large"]
    with pytest.raises(torch.OutOfMemoryError):
        choose_acceleration(ways, try_out, events.append, 10)
    assert list(candidates(lambda *a: a[0], lambda: lambda *a: a[0], 16, "cpu")) == ["plain"]


def test_lengths_of_recordings_are_few_and_near() -> None:
    for longest in (16, 128, 1000):
        rounded = [round_up(length, longest) for length in range(1, longest + 1)]
        assert all(length <= found <= min(longest, 1.05 * length) for length, found in enumerate(rounded, 1))
        assert len(set(rounded)) < 180
