"""A member of a stack ends where its split ends alone, whoever its mates are and whatever becomes of them."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memo.errors import DivergedError, MemoError
from memo.lm import stack_schedule
from memo.lm.batches import COHORT
from memo.lm.checkpoint import Checkpoints
from memo.lm.device import Device
from memo.lm.stack import train_stack
from memo.lm.stacked_attention import NotStackableError
from memo.lm.train import Setup, SplitResult, learning_rates, train_split

SPLITS = [3, 4, 5]
DOCUMENTS = [np.arange(0, 24, 2), np.arange(5), np.arange(24)]  # 5, 3 and 9 steps an epoch, or near it
TINY = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}
CLOSE = 5e-5  # of losses after whole trainings, in which rounding grows


def results_of(results: list[SplitResult | DivergedError]) -> list[SplitResult]:
    assert all(isinstance(result, SplitResult) for result in results), results
    return [result for result in results if isinstance(result, SplitResult)]


def alike(one: SplitResult, other: SplitResult) -> bool:
    return (
        np.allclose(one.loss, other.loss, atol=CLOSE, equal_nan=True)
        and (one.steps, one.trained_tokens) == (other.steps, other.trained_tokens)
        and all(
            torch.allclose(mine, theirs, atol=CLOSE)
            for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True)
        )
    )


def test_members_equal_their_splits_alone(
    section: dict[str, Any], make_setup: Callable[..., Setup], cpu: Device
) -> None:
    setup = make_setup(section, evaluations=(1, 3), learning_rate=2e-3)
    together = results_of(train_stack(setup, SPLITS, DOCUMENTS, cpu))
    for split, documents, member in zip(SPLITS, DOCUMENTS, together, strict=True):
        alone = train_split(setup, split, documents, cpu)
        assert alike(member, alone)
        assert member.loss.shape == alone.loss.shape and member.loss.dtype == np.float32
        tokens = torch.arange(10).view(1, 10)
        assert torch.allclose(member.model(tokens).logits, alone.model(tokens).logits, atol=1e-3)  # and runs by itself
        assert not member.model.training


def test_mates_do_not_matter(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(learning_rate=2e-3)
    three = results_of(train_stack(setup, SPLITS, DOCUMENTS, cpu))
    pair = results_of(train_stack(setup, [5, 3], [DOCUMENTS[2], DOCUMENTS[0][::-1]], cpu))
    assert alike(three[2], pair[0]) and alike(three[0], pair[1])
    again = results_of(train_stack(setup, SPLITS, DOCUMENTS, cpu))
    assert all(np.array_equal(one.loss, other.loss) for one, other in zip(three, again, strict=True))


def test_bfloat16_is_near_its_split_alone(make_setup: Callable[..., Setup], section: dict[str, Any]) -> None:
    setup = make_setup(section, learning_rate=2e-3)
    device = Device("cpu", "bfloat16")
    member = results_of(train_stack(setup, [3, 4], DOCUMENTS[:2], device))[0]
    alone = train_split(setup, 3, DOCUMENTS[0], device)
    exact = train_split(setup, 3, DOCUMENTS[0], Device("cpu", "float32"))
    assert np.abs(member.loss - exact.loss).max() < 0.05
    assert np.abs(member.loss - alone.loss).max() < 0.03
    assert not np.array_equal(member.loss, exact.loss)


def heat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the second member diverge."""
    members_of = stack_schedule.members_of

    def hot(*arguments: Any) -> list[stack_schedule.Member]:
        members = members_of(*arguments)
        members[1] = replace(members[1], rates=members[1].rates * 1e30)
        return members

    monkeypatch.setattr("memo.lm.stack.members_of", hot)


def test_a_member_that_diverges_is_alone_with_it(
    make_setup: Callable[..., Setup], cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(learning_rate=2e-3)
    heat(monkeypatch)
    events: list[dict[str, Any]] = []
    first, second, third = train_stack(setup, SPLITS, DOCUMENTS, cpu, events.append)
    assert isinstance(second, DivergedError) and second.split == 4 and second.step is not None
    assert [event["split"] for event in events if event.get("event") == "diverged"] == [4]
    for split, documents, member in ((3, DOCUMENTS[0], first), (5, DOCUMENTS[2], third)):
        assert isinstance(member, SplitResult)
        assert alike(member, train_split(setup, split, documents, cpu))


def test_all_diverge_at_the_steps_at_which_they_do_alone(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(learning_rate=1e30, epochs=8, warmup=0.0)
    found = train_stack(setup, SPLITS, DOCUMENTS, cpu)
    for split, documents, error in zip(SPLITS, DOCUMENTS, found, strict=True):
        with pytest.raises(DivergedError) as alone:
            train_split(setup, split, documents, cpu)
        assert isinstance(error, DivergedError)
        assert (error.split, error.epoch, error.step) == (split, alone.value.epoch, alone.value.step)


def test_a_loss_that_breaks_at_an_evaluation(
    make_setup: Callable[..., Setup], cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.full((3, 24), 1.0, np.float32)
    broken[1, 7] = np.inf
    monkeypatch.setattr("memo.lm.stack.stacked_document_losses", lambda *arguments: (broken, broken))
    _, second, third = train_stack(make_setup(evaluations=(2, 3)), SPLITS, DOCUMENTS, cpu)
    assert isinstance(second, DivergedError)
    assert (second.split, second.epoch, second.step, second.loss) == (4, 2, None, np.inf)
    assert isinstance(third, SplitResult)


def test_order_and_rates_are_those_of_the_split_alone(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup()
    members = stack_schedule.members_of(setup, SPLITS, DOCUMENTS)
    for epoch in (1, 2, 3):
        together = stack_schedule.EpochSteps(setup, members, epoch, cpu.torch_device)
        assert together.count == max(member.batches for member in members)
        for e, member in enumerate(members):
            alone = stack_schedule.EpochSteps(setup, [member], epoch, cpu.torch_device)
            width, own = alone.start.shape[2], member.batches
            assert torch.equal(together.start[:own, e, :width], alone.start[:, 0])
            assert torch.equal(together.length[:own, e, :width], alone.length[:, 0])
            assert together.length[:own, e, width:].sum() == together.length[own:, e].sum() == 0
            assert together.active[:, e].sum() == own and not together.active[own:, e].any()
            rates = learning_rates(3 * own, setup.training)[(epoch - 1) * own : epoch * own]
            assert together.rates[:own, e].tolist() == pytest.approx(rates)


def test_progress_is_reported(make_setup: Callable[..., Setup], cpu: Device) -> None:
    events: list[dict[str, Any]] = []
    train_stack(make_setup(), SPLITS, DOCUMENTS, cpu, events.append)
    acceleration, *steps, evaluated = events
    assert (acceleration["event"], acceleration["chosen"]) == ("acceleration", "plain")
    assert evaluated == {"event": "evaluate", "splits": SPLITS, "epoch": 3}
    assert [event["epoch"] for event in steps] == [1, 2, 3]
    assert set(steps[-1]) == {"splits", "epoch", "epochs", "step", "steps", "loss", "tokens_per_s"}
    assert steps[-1]["step"] == steps[-1]["steps"]
    assert steps[0]["loss"] > steps[-1]["loss"] > 0


def test_what_cannot_be_stacked_is_refused(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.5})
    with pytest.raises(NotStackableError, match=r"it has dropout .*; train them one by one"):
        train_stack(setup, SPLITS, DOCUMENTS, cpu)
    with pytest.raises(MemoError, match="split 4 has no tokens"):
        train_stack(make_setup(), [3, 4], [DOCUMENTS[0], np.array([], int)], cpu)


class Killed(Exception):
    pass


class EverySecond(Checkpoints):
    """Due by count: by time, no test would hit the same step twice."""

    def __init__(self, folder: Path, device: Device) -> None:
        super().__init__(folder, {"splits": SPLITS}, device)
        self.asked = 0

    def due(self) -> bool:
        self.asked += 1
        return self.asked % 2 == 0


def same(one: SplitResult | DivergedError, other: SplitResult | DivergedError) -> bool:
    if isinstance(one, DivergedError) or isinstance(other, DivergedError):
        return str(one) == str(other)
    return (
        one.loss.tobytes() == other.loss.tobytes()
        and one.n_correct.tobytes() == other.n_correct.tobytes()
        and one.trained_tokens == other.trained_tokens
        and all(map(torch.equal, one.model.parameters(), other.model.parameters()))
    )


@pytest.mark.parametrize("diverging", [False, True])
@pytest.mark.parametrize("kill_at", [1, 4])  # checkpoints: in the first epoch, and in a later one
def test_a_stack_goes_on_from_a_checkpoint(
    make_setup: Callable[..., Setup],
    cpu: Device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
    diverging: bool,
) -> None:
    # As splits of a stack are trained: a diverged member's windows then pad no others, until its loss is looked at.
    setup = replace(make_setup(TINY, evaluations=(1, 3), learning_rate=2e-3), cohort=COHORT)
    if diverging:
        heat(monkeypatch)
    undisturbed = train_stack(setup, SPLITS, DOCUMENTS, cpu)
    saved = itertools.count(1)

    def report(event: dict[str, Any]) -> None:
        if event.get("event") == "checkpoint" and next(saved) == kill_at:
            raise Killed

    with pytest.raises(Killed):
        train_stack(setup, SPLITS, DOCUMENTS, cpu, report, EverySecond(tmp_path, cpu))
    events: list[dict[str, Any]] = []
    resumed = train_stack(setup, SPLITS, DOCUMENTS, cpu, events.append, EverySecond(tmp_path, cpu))
    assert [event["splits"] for event in events if event.get("event") == "restored"] == [SPLITS]
    assert all(map(same, resumed, undisturbed))
    assert isinstance(resumed[1], DivergedError) is diverging
    if not diverging:
        assert [result.padding_share for result in resumed] == [result.padding_share for result in undisturbed]


def test_another_stack_is_not_restored(make_setup: Callable[..., Setup], cpu: Device, tmp_path: Path) -> None:
    setup = make_setup(TINY)
    train_stack(setup, SPLITS, DOCUMENTS, cpu, checkpoints=EverySecond(tmp_path, cpu))
    events: list[dict[str, Any]] = []
    train_stack(setup, [3, 4, 6], DOCUMENTS, cpu, events.append, EverySecond(tmp_path, cpu))
    refused = [event["reason"] for event in events if event.get("event") == "checkpoint_refused"]
    assert refused and "expected a stack of splits [3, 4, 6], found [3, 4, 5]" in refused[0]
