"""How wide a stack can be, and what happens when it was too wide."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from memo.errors import DivergedError
from memo.lm import stack_width, stacks
from memo.lm.batches import COHORT
from memo.lm.device import Device
from memo.lm.stack_memory import predict_bytes
from memo.lm.stack_width import even_width, plan_width
from memo.lm.stacks import train_stacks
from memo.lm.train import Setup, SplitResult, train_split

GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2}
DROPOUT = {**GPT2, "resid_pdrop": 0.5}


def half(split: int) -> np.ndarray:
    return np.arange(split % 2, 24, 2)


def test_plans(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup, events = make_setup(GPT2), list[dict[str, Any]]()
    assert plan_width(setup, cpu, "auto", 100, events.append).width == 1
    assert "no faster" in events[-1]["reason"]
    assert plan_width(setup, cpu, 8, 100).width == 8
    assert plan_width(setup, cpu, 8, 3).width == 3
    assert plan_width(setup, cpu, 1000, 5000).width == COHORT
    refused = plan_width(make_setup(DROPOUT), cpu, 8, 100)
    assert refused.width == 1 and "one by one: it has dropout" in refused.reason


@pytest.mark.parametrize(
    ("speeds", "free", "most", "width", "reason"),
    [
        ([1, 2, 4, 4.1], 1 << 40, 64, 4, "a stack of 8 is no faster"),
        ([1, 2, 4, 8], 10, 64, 8, "memory"),  # there is room for 8.5 members
        ([1, 2, 4, 8], 1 << 40, 12, 12, "there are no more splits"),
        ([1, 2, 4, 8, 16, 32, 64], 1 << 40, 64, 64, "widest"),
        ([1, 2, None], 1 << 40, 64, 2, "memory"),
    ],
)
def test_a_width_is_measured(
    speeds: list[float | None],
    free: int,
    most: int,
    width: int,
    reason: str,
    make_setup: Callable[..., Setup],
    cpu: Device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU, with speeds and memory made up."""
    setup = make_setup(GPT2)
    member = predict_bytes(setup, cpu).total
    tried: list[int] = []

    def try_width(setup: Setup, device: Device, width: int) -> tuple[float, int]:
        tried.append(width)
        speed = speeds[len(tried) - 1]
        if speed is None:
            raise torch.OutOfMemoryError
        return speed, 7 * width

    monkeypatch.setattr(stack_width, "_try_width", try_width)
    monkeypatch.setattr(stack_width, "why_not", lambda *arguments: None)
    monkeypatch.setattr(stack_width, "predict_bytes", lambda *arguments: predict_bytes(setup, cpu))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free if free > 1000 else free * member, 0))
    plan = plan_width(setup, Device("cuda", "float32"), "auto", most)
    assert (plan.width, plan.reason, plan.measured) == (width, f"measured: {reason}", 7)
    assert tried == [2**power for power in range(len(tried))]


def test_stacks_are_as_equal_as_they_can_be() -> None:
    assert [even_width(*case) for case in ((100, 64), (64, 64), (65, 64), (5, 2), (3, 8), (1, 1))] == [
        50,
        64,
        33,
        2,
        3,
        1,
    ]


def run(setup: Setup, device: Device, splits: range, width: int) -> tuple[dict[int, Any], list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    return dict(train_stacks(setup, splits, half, device, events.append, width)), events


def test_out_of_memory_halves_the_width_and_goes_on(
    make_setup: Callable[..., Setup], cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, widths, train = make_setup(GPT2, epochs=1, learning_rate=1e-3), [], stacks.train_stack

    def scarce(setup: Setup, splits: Any, *arguments: Any) -> Any:
        widths.append(len(splits))
        if len(splits) > 2:
            raise torch.OutOfMemoryError
        return train(setup, splits, *arguments)

    monkeypatch.setattr(stacks, "train_stack", scarce)
    results, events = run(setup, cpu, range(7), 8)
    assert widths == [7, 4, 2, 2, 2]  # and one is left alone
    halved = [(event["width"], event["next_width"]) for event in events if event.get("event") == "out_of_memory"]
    assert halved == [(7, 4), (4, 2)]
    for split, result in results.items():
        assert np.allclose(result.loss, train_split(setup, split, half(split), cpu).loss, atol=1e-4)


def test_one_model_that_does_not_fit_is_an_error(
    make_setup: Callable[..., Setup], cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> SplitResult:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(stacks, "train_split", full)
    with pytest.raises(torch.OutOfMemoryError):
        run(make_setup(GPT2), cpu, range(1), 1)


def test_one_by_one_a_diverged_split_is_a_result_too(make_setup: Callable[..., Setup], cpu: Device) -> None:
    results, _ = run(make_setup(DROPOUT, learning_rate=1e30, warmup=0.0), cpu, range(2), 1)
    assert all(isinstance(result, DivergedError) for result in results.values())
