"""What a member of a stack takes: predicted, and counted on real steps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from memo.lm.device import Device
from memo.lm.stack_memory import idle_step, peak_bytes, predict_bytes, saved_bytes
from memo.lm.stacked_model import StackedModel
from memo.lm.train import Setup, new_model


def test_weights_and_optimizer_are_predicted_exactly(
    section: dict[str, Any], make_setup: Callable[..., Setup], cpu: Device
) -> None:
    setup = make_setup(section)
    predicted = predict_bytes(setup, cpu)
    stack = StackedModel(new_model(setup, 0), 3, cpu)
    numbers = sum(parameter.numel() for parameter in new_model(setup, 0).parameters())
    assert 4 * numbers <= predicted.weights == stack.weights.values.nbytes // 3
    assert predicted.weights < 4 * (numbers + 64 * len(stack.weights.parameters))
    assert predicted.moments == 2 * stack.weights.gradient.nbytes // 3
    assert predicted.gradients == predicted.moments
    assert predicted.cast == 0
    linear = [layer for layer in stack.skeleton.modules() if type(layer).__name__ in ("Linear", "Conv1D")]
    head = stack.skeleton.get_output_embeddings()
    inside = sum(parameter.numel() for layer in linear if layer is not head for parameter in layer.parameters())
    assert predict_bytes(setup, Device("cpu", "bfloat16")).cast == 2 * inside


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activations_are_predicted_within_a_fifth(
    section: dict[str, Any], precision: str, make_setup: Callable[..., Setup]
) -> None:
    setup, device = make_setup(section), Device("cpu", precision)
    predicted = predict_bytes(setup, device).activations
    stack = StackedModel(new_model(setup, 0), 5, device)
    tokens = torch.zeros(5, setup.training.batch_size, setup.context_tokens, dtype=torch.int64)
    with saved_bytes(stack) as saved:
        stack.losses(tokens, tokens)
    assert predicted == pytest.approx(saved[0] / 5, rel=0.2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_peak_of_a_step_is_predicted_within_a_fifth(
    section: dict[str, Any], precision: str, make_setup: Callable[..., Setup]
) -> None:
    setup, device, width = make_setup(section), Device("cpu", precision), 5
    _, taken = peak_bytes("cpu", lambda: idle_step(setup, device, width)())
    assert predict_bytes(setup, device, width).total == pytest.approx(taken / width, rel=0.2)


def test_the_peak_is_the_most_at_once() -> None:
    def work() -> str:
        first = torch.ones(1 << 20)
        second = torch.ones(1 << 20)
        del first, second
        torch.ones(1 << 20)
        return "done"

    result, taken = peak_bytes("cpu", work)
    assert result == "done" and taken == pytest.approx(8 << 20, rel=0.01)
