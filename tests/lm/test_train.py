"""Training remembers what it was given, repeats itself to the last bit, and says so when it breaks."""

import hashlib
import itertools
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memo.errors import DivergedError, MemoError
from memo.lm import train
from memo.lm.batches import collate, windows
from memo.lm.device import Device
from memo.lm.evaluate import document_losses
from memo.lm.train import Setup, SplitResult, learning_rates, new_model, order_of, parameter_groups, train_split

HALF = np.arange(0, 24, 2)
# A model for which bfloat16 is chosen is wide.
MODEL_OF = {"float32": None, "bfloat16": {"model_type": "gpt2", "n_embd": 128, "n_layer": 1, "n_head": 4}}
ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
import conftest, test_train
from memo.lm.device import Device
from memo.lm.train import train_split
setup = conftest.setup_of(test_train.MODEL_OF[sys.argv[2]])
print(test_train.fingerprint(train_split(setup, 3, test_train.HALF, Device("cpu", sys.argv[2]))))
"""


def fingerprint(result: SplitResult) -> str:
    parts = [result.loss.tobytes(), result.n_correct.tobytes()]
    parts += [tensor.detach().numpy().tobytes() for tensor in result.model.state_dict().values()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.fixture
def setup(make_setup: Callable[..., Setup]) -> Setup:
    return make_setup()


def test_four_documents_are_memorized(section: dict[str, Any], make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(section, epochs=60, evaluations=(1, 60), learning_rate=1e-2)
    result = train_split(setup, 0, np.arange(4), cpu)
    assert result.loss.shape == result.n_correct.shape == (2, 24)
    assert result.loss.dtype == result.n_correct.dtype == np.float32
    early, late = result.loss
    assert late[:4].max() < 1.0 < 3.0 < late[4:].min()  # of ln 40 = 3.7 nats
    assert abs(early[:4].mean() - early[4:].mean()) < 0.5
    assert result.n_correct[1, :4].sum() > 0.8 * setup.offsets[4]
    assert result.trained_tokens == 60 * setup.offsets[4]
    assert result.steps == 60 * math.ceil(len(windows(setup.offsets, 16, np.arange(4)).start) / 4)


def test_equals_a_plain_loop(setup: Setup, cpu: Device) -> None:
    """The same training written with nothing but torch: separate optimizer, HF logits, no chunks."""
    result = train_split(setup, 3, HALF, cpu)
    table = windows(setup.offsets, 16, HALF)
    model = new_model(setup, 3).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), foreach=False, fused=False)
    rates = iter(learning_rates(result.steps, setup.training))
    for epoch in (1, 2, 3):
        for indices in order_of(setup, 3, epoch, table):
            inputs, targets = collate(setup.tokens, table, indices, setup.bos, pad=5)
            optimizer.zero_grad()
            F.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            rate = next(rates)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
    expected, _ = document_losses(model, setup.tokens, setup.offsets, 16, setup.bos, cpu)
    assert np.abs(result.loss[-1] - expected).max() < 1e-4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_to_the_last_bit_again_and_in_another_process(
    precision: str, make_setup: Callable[..., Setup]
) -> None:
    setup, device = make_setup(MODEL_OF[precision]), Device("cpu", precision)
    here = fingerprint(train_split(setup, 3, HALF, device))
    assert fingerprint(train_split(setup, 3, HALF[::-1], device)) == here  # nor does the order of the list matter
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", ELSEWHERE, str(Path(__file__).parent), precision]
    there = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert there.stdout.strip() == here, there.stderr


def test_splits_and_seeds_have_their_own_streams(setup: Setup, cpu: Device) -> None:
    runs = [(setup, 3), (setup, 4), (replace(setup, seed=1), 3)]
    assert len({fingerprint(train_split(given, split, HALF, cpu)) for given, split in runs}) == 3


def test_evaluating_on_the_way_changes_nothing(make_setup: Callable[..., Setup], cpu: Device) -> None:
    once = train_split(make_setup(), 3, HALF, cpu)
    often = train_split(make_setup(evaluations=(1, 2, 3)), 3, HALF, cpu)
    assert often.loss.shape == (3, 24)
    assert np.array_equal(once.loss[-1], often.loss[-1])


def test_dropout_is_drawn_from_the_split(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.5})
    state = torch.random.get_rng_state()
    first = fingerprint(train_split(setup, 3, HALF, cpu))
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(5)
    assert fingerprint(train_split(setup, 3, HALF, cpu)) == first


def test_two_copies_weigh_twice(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(epochs=10)
    once = train_split(setup, 0, np.arange(12), cpu)
    more = train_split(setup, 0, np.concatenate([np.arange(12), [0] * 7]), cpu)
    assert more.loss[-1, 0] < once.loss[-1, 0] - 0.3


def test_training_goes_on_from_a_checkpoint(make_setup: Callable[..., Setup], cpu: Device, tmp_path: Path) -> None:
    setup = make_setup(epochs=30, learning_rate=1e-2)
    first = train_split(setup, 0, HALF, cpu)
    first.model.save_pretrained(tmp_path)
    start = {"name": str(tmp_path), "pretrained": True}
    second = train_split(make_setup(start, epochs=1, learning_rate=1e-9), 1, HALF, cpu)
    assert np.abs(first.loss - second.loss).max() < 1e-4
    shape_only = train_split(make_setup({"name": str(tmp_path)}, epochs=1, learning_rate=1e-9), 1, HALF, cpu)
    assert shape_only.loss[0, HALF].mean() > first.loss[0, HALF].mean() + 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_progress_is_reported(setup: Setup, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memo.lm.train.REPORT_INTERVAL_S", 0.0)
    events: list[dict[str, Any]] = []
    result = train_split(setup, 3, HALF, Device("cpu", precision), events.append)
    assert events.pop() == {"event": "evaluate", "split": 3, "epoch": 3}
    assert [event["step"] for event in events] == list(range(1, result.steps + 1))
    assert sorted({event["epoch"] for event in events}) == [1, 2, 3]
    last = events[-1]
    assert set(last) == {"split", "epoch", "epochs", "step", "steps", "loss", "tokens_per_s"}
    assert last["step"] == last["steps"] == result.steps
    assert events[0]["loss"] > last["loss"] > 0
    assert all(parameter.dtype == torch.float32 for parameter in result.model.parameters())
    assert not result.model.training


@pytest.mark.parametrize("learning_rate", [1e8, 1e30])
def test_a_loss_that_breaks_is_an_error(make_setup: Callable[..., Setup], cpu: Device, learning_rate: float) -> None:
    setup = make_setup(learning_rate=learning_rate, epochs=8, warmup=0.0)
    message = r"the loss of split 3 became (nan|inf) at epoch \d, step \d+; lower training\.learning_rate"
    with pytest.raises(DivergedError, match=message) as caught:
        train_split(setup, 3, HALF, cpu)
    error = caught.value
    assert error.split == 3 and error.step is not None and not math.isfinite(error.loss)
    assert (error.step - 1) // 5 == error.epoch - 1  # five steps an epoch
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own, on its way from a worker


def test_a_loss_that_breaks_at_an_evaluation_is_an_error(
    make_setup: Callable[..., Setup], cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.full(24, np.inf, np.float32), np.zeros(24, np.float32)
    monkeypatch.setattr(train, "by_document", lambda *arguments: broken)
    with pytest.raises(DivergedError, match=r"split 3 became inf at the evaluation after epoch 2; lower") as caught:
        train_split(make_setup(evaluations=(2, 3)), 3, HALF, cpu)
    assert (caught.value.split, caught.value.epoch, caught.value.step) == (3, 2, None)


def test_tokens_and_padding_are_counted(make_setup: Callable[..., Setup], cpu: Device) -> None:
    setup = make_setup(batch_size=100)
    lengths = windows(setup.offsets, 16, HALF).length
    result = train_split(setup, 3, HALF, cpu)
    assert result.trained_tokens == 3 * lengths.sum()
    assert result.padding_share == pytest.approx(1 - lengths.sum() / (len(lengths) * lengths.max()))


def test_an_empty_split_is_an_error(setup: Setup, cpu: Device) -> None:
    with pytest.raises(MemoError, match="split 3 has no tokens"):
        train_split(setup, 3, np.array([], int), cpu)


def test_rates_rise_and_fall(make_setup: Callable[..., Setup]) -> None:
    training = make_setup(learning_rate=1.0, warmup=0.25, final_rate=0.1).training
    rates = learning_rates(20, training)
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[5:]))
    assert 0.1 < rates[-1] < 0.12
    assert learning_rates(1, training) == [1.0]
    assert max(learning_rates(50, make_setup(learning_rate=1.0, warmup=0.0).training)) == 1.0


def test_only_matrices_decay(setup: Setup) -> None:
    model = new_model(setup, 0)
    decayed, others = parameter_groups(model, 0.3)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert all(parameter.ndim < 2 for parameter in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))
