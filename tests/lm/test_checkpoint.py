"""A training that is killed and goes on ends in the same bits; what cannot be trusted is passed over, and said so."""

import errno
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from memo.errors import DamagedError, DivergedError
from memo.layout import record_path
from memo.lm import checkpoint
from memo.lm.checkpoint import Checkpoints
from memo.lm.device import Device, activate
from memo.lm.state import State
from memo.lm.train import Setup, SplitResult, new_model, parameter_groups, train_split
from memo.splits import METADATA_KEY, metadata
from memo.store import publishing

HALF = np.arange(0, 24, 2)
STEPS = 15  # five an epoch
INPUTS = {"split": 3, "training": {"epochs": 3}}
TINY = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2 with dropout": {**TINY, "embd_pdrop": 0.2, "attn_pdrop": 0.2, "resid_pdrop": 0.2},
    "gpt2, untied": {**TINY, "tie_word_embeddings": False},
    "llama": LLAMA,
    "llama, tied": {**LLAMA, "tie_word_embeddings": True},
}
has_cuda = torch.cuda.is_available()


class Killed(Exception):
    pass


@dataclass
class Trainer:
    """Trains the same split again and again, as a process that is killed and started anew."""

    setup: Setup
    folder: Path
    device: Device
    every: int = 1  # steps and evaluations from one checkpoint to the next
    events: list[dict[str, Any]] = field(default_factory=list)

    def undisturbed(self) -> SplitResult:
        return train_split(self.setup, 3, HALF, self.device)

    def checkpoints(self, inputs: Any = INPUTS, device: Device | None = None) -> Checkpoints:
        return EveryFew(self.folder, inputs, device or self.device, self.every)

    def run(self, kill: Callable[[dict[str, Any]], bool] = lambda event: False, **other: Any) -> SplitResult:
        """One attempt; raises `Killed` at the first event that `kill` picks. Its events are in `events`."""
        self.events.clear()

        def report(event: dict[str, Any]) -> None:
            self.events.append(event)
            if kill(event):
                raise Killed

        return train_split(self.setup, 3, HALF, self.device, report, self.checkpoints(**other))

    def killed(self, **wanted: Any) -> "Trainer":
        """Runs until an event with these values."""
        with pytest.raises(Killed):
            self.run(lambda event: wanted.items() <= event.items())
        return self

    def said(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("event") == name]

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors"))


@pytest.fixture
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memo.lm.train.REPORT_INTERVAL_S", 0.0)


class EveryFew(Checkpoints):
    """Due by count: by time, no test would hit the same step twice."""

    def __init__(self, folder: Path, inputs: Any, device: Device, every: int) -> None:
        super().__init__(folder, inputs, device)
        self.every, self.asked = every, 0

    def due(self) -> bool:
        self.asked += 1
        return self.asked % self.every == 0


def same(one: SplitResult, other: SplitResult) -> bool:
    """Equal to the last bit, and so are the counts."""
    states = one.model.state_dict(), other.model.state_dict()
    return (
        one.loss.tobytes() == other.loss.tobytes()
        and one.n_correct.tobytes() == other.n_correct.tobytes()
        and states[0].keys() == states[1].keys()
        and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        and (one.steps, one.trained_tokens, one.padding_share)
        == (other.steps, other.trained_tokens, other.padding_share)
    )


@pytest.fixture
def trainer(make_setup: Callable[..., Setup], tmp_path: Path, cpu: Device) -> Trainer:
    return Trainer(make_setup(MODELS["gpt2 with dropout"], evaluations=(2, 3)), tmp_path / "split-00003", cpu)


def attempts(trainer: Trainer) -> Iterator[SplitResult]:
    """Killed after every checkpoint, until one attempt comes to the end."""
    while True:
        try:
            yield trainer.run(lambda event: event.get("event") == "checkpoint")
            return
        except Killed:
            assert len(trainer.events) < 6  # it did not start again


@pytest.mark.parametrize("name", MODELS)
def test_killed_after_every_step_and_every_evaluation(trainer: Trainer, name: str) -> None:
    trainer.setup = replace(trainer.setup, model=MODELS[name])
    expected = trainer.undisturbed()
    (result,) = attempts(trainer)
    assert same(result, expected)
    assert trainer.said("restored") == [{"event": "restored", "split": 3, "step": STEPS}]


@pytest.mark.usefixtures("every_step_is_reported")
@pytest.mark.parametrize(
    ("every", "moment", "step", "evaluations"),
    [
        (1, {"event": "checkpoint", "step": 5}, 5, [2, 3]),  # the last step of an epoch
        (6, {"event": "checkpoint", "step": 5}, 5, [2, 3]),  # between two epochs
        (1, {"epoch": 2, "step": 6}, 5, [2, 3]),  # the first step of an epoch, before it is saved
        (1, {"event": "checkpoint", "step": 6}, 6, [2, 3]),  # and after
        (1, {"event": "evaluate", "epoch": 2}, 10, [2, 3]),
        (4, {"event": "evaluate", "epoch": 2}, 7, [2, 3]),  # steps are done again
        (4, {"event": "checkpoint", "step": 10}, 10, [3]),  # after the evaluation
        (4, {"event": "evaluate", "epoch": 3}, 14, [3]),
    ],
)
def test_killed_at_a_moment(
    trainer: Trainer, every: int, moment: dict[str, Any], step: int, evaluations: list[int]
) -> None:
    trainer.every = every
    result = trainer.killed(**moment).run()
    assert [event["step"] for event in trainer.said("restored")] == [step]
    assert [event["epoch"] for event in trainer.said("evaluate")] == evaluations
    assert same(result, trainer.undisturbed())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not has_cuda, reason="a GPU"))])
@pytest.mark.filterwarnings("default")  # CUDA names operations without a repeatable version
def test_each_kind_of_arithmetic(trainer: Trainer, kind: str, precision: str) -> None:
    trainer.device = Device(kind, precision)
    activate(trainer.device)
    result = trainer.killed(event="checkpoint", step=7).run()
    assert same(result, trainer.undisturbed())


def test_a_folder_of_checkpoints(trainer: Trainer) -> None:
    trainer.killed(event="checkpoint", step=4)
    names = [f"step-00000000{step}.safetensors" for step in (3, 4)]
    assert sorted(path.name for path in trainer.folder.iterdir()) == sorted(
        [*names, *(record_path(Path(name)).name for name in names)]
    )
    assert all(isinstance(tensor, torch.Tensor) for tensor in load_file(trainer.files()[0]).values())
    trainer.checkpoints().clear()
    assert not trainer.folder.exists()
    trainer.checkpoints().clear()  # nothing there is no error
    assert same(trainer.run(), trainer.undisturbed())
    assert not trainer.said("restored")


def test_due_by_the_clock(
    tmp_path: Path, make_setup: Callable[..., Setup], cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    never, always, sometimes = (Checkpoints(tmp_path, INPUTS, cpu, interval) for interval in (None, 0, 60))
    assert (never.due(), always.due(), sometimes.due()) == (False, True, False)
    now += 60
    assert (never.due(), sometimes.due()) == (False, True)
    sometimes.save(new_state(make_setup(TINY), cpu), print)
    assert not sometimes.due()
    now += 60
    assert sometimes.due()
    sometimes.restore(new_state(make_setup(TINY), cpu), print)
    assert not sometimes.due()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def unrecord(path: Path) -> None:
    record_path(path).unlink()


def break_record(path: Path) -> None:
    record_path(path).write_text("{")


def newer_record(path: Path) -> None:
    record = json.loads(record_path(path).read_text())
    record_path(path).write_text(json.dumps({**record, "format": 99}))


DAMAGE = {
    truncate: r"expected \d+ bytes, found \d+",
    zero: "it differs from its record",
    flip: "it differs from its record",
    unrecord: "no completion record",
    break_record: "no completion record",
    newer_record: "use a newer memo",
    Path.unlink: "No such file",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_one_is_passed_over_for_the_one_before(trainer: Trainer, damage: Callable[[Path], None]) -> None:
    trainer.killed(event="checkpoint", step=7)
    newest = trainer.files()[-1]
    damage(newest)
    trainer.killed(event="checkpoint", step=7)  # in its place
    (refused,) = trainer.said("checkpoint_refused")
    assert refused["path"] == str(newest) and refused["split"] == 3
    assert re.search(DAMAGE[damage], refused["reason"])
    assert [event["step"] for event in trainer.said("restored")] == [6]
    assert [path.name[-13:-12] for path in trainer.files()] == ["6", "7"]
    result = trainer.run()
    assert [event["step"] for event in trainer.said("restored")] == [7]
    assert same(result, trainer.undisturbed())


def test_where_all_are_damaged_it_starts_again(trainer: Trainer) -> None:
    trainer.killed(event="checkpoint", step=7)
    truncate(trainer.files()[0])
    zero(trainer.files()[1])
    trainer.killed(event="checkpoint", step=2)
    assert len(trainer.said("checkpoint_refused")) == 2 and not trainer.said("restored")
    assert [path.name[-13:-12] for path in trainer.files()] == [
        "1",
        "2",
    ]  # what was refused, though of later steps, went
    result = trainer.run()
    assert [event["step"] for event in trainer.said("restored")] == [2]
    assert same(result, trainer.undisturbed())


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"inputs": {**INPUTS, "split": 4}}, "expected split.split 4, found 3"),
        ({"inputs": {"split": 3, "training": {"epochs": 4}}}, "expected split.training.epochs 4, found 3"),
        ({"device": Device("cpu", "bfloat16")}, 'expected machine.precision "bfloat16", found "float32"'),
    ],
)
def test_made_otherwise(trainer: Trainer, other: dict[str, Any], reason: str) -> None:
    trainer.killed(event="checkpoint", step=7)
    result = trainer.run(**other)
    assert [reason in event["reason"] for event in trainer.said("checkpoint_refused")] == [True, True]
    assert not trainer.said("restored")
    assert same(result, trainer.undisturbed())


@pytest.mark.parametrize("what", ["torch", "transformers", "numpy", "device_name", "instructions"])
def test_made_elsewhere(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    trainer.killed(event="checkpoint", step=2)
    here = checkpoint.describe(trainer.device)
    monkeypatch.setattr(checkpoint, "describe", lambda device: {**here, what: "another"})
    trainer.killed(event="checkpoint", step=1)
    assert not trainer.said("restored")
    assert {event["reason"] for event in trainer.said("checkpoint_refused")} == {
        f'it was made otherwise: expected machine.{what} "another", found "{here[what]}"'
    }


def new_state(setup: Setup, device: Device) -> State:
    model = new_model(setup, 3)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), fused=True)
    return State(3, model, optimizer, device, STEPS, 2, 24)


WRONG: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], object], str]] = {
    "missing tensor": (
        lambda counts, tensors: tensors.pop("exp_avg/transformer.wte.weight"),
        r"expected float32 \(40, 16\) as its tensor exp_avg/transformer.wte.weight, found none",
    ),
    "missing weight": (lambda counts, tensors: tensors.pop("weight/transformer.ln_f.bias"), "found none"),
    "missing order of dropout": (lambda counts, tensors: tensors.pop("random/cpu"), r"expected uint8 .*, found none"),
    "one too many": (
        lambda counts, tensors: tensors.update(more=torch.zeros(3)),
        r"expected none as its tensor more, found float32 \(3,\)",
    ),
    "wrong dtype": (lambda counts, tensors: tensors.update(loss=torch.zeros(2, 24).double()), "found float64"),
    "wrong shape": (lambda counts, tensors: tensors.update(losses=torch.zeros(14)), r"found float32 \(14,\)"),
    "missing count": (lambda counts, tensors: counts.pop("batch"), "whole number as its batch, found None"),
    "wrong count": (lambda counts, tensors: counts.update(step=2.5), "whole number as its step, found 2.5"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_state_with_a_valid_record_changes_nothing(trainer: Trainer, what: str) -> None:
    change, reason = WRONG[what]
    trainer.killed(event="checkpoint", step=2)
    path = trainer.files()[-1]
    with safe_open(path, framework="pt") as file:
        counts = json.loads(file.metadata()[METADATA_KEY])
    tensors = load_file(path)
    change(counts, tensors)

    state = new_state(trainer.setup, trainer.device)
    before, stood = state.copies(), state.counts()
    with pytest.raises(DamagedError, match=reason):
        state.load(counts, tensors)
    assert state.counts() == stood
    assert all(torch.equal(before[name], tensor) for name, tensor in state.copies().items())

    with publishing(path, trainer.checkpoints().inputs) as temporary:
        save_file(tensors, temporary, metadata=metadata(counts))
    result = trainer.run()
    assert [event["path"] for event in trainer.said("checkpoint_refused")] == [str(path)]
    assert [event["step"] for event in trainer.said("restored")] == [1]
    assert same(result, trainer.undisturbed())


def test_no_safetensors_file_with_a_valid_record(trainer: Trainer) -> None:
    trainer.killed(event="checkpoint", step=1)
    with publishing(trainer.files()[0], trainer.checkpoints().inputs) as temporary:
        temporary.write_text("something else altogether")
    trainer.killed(event="checkpoint", step=1)
    assert "expected a safetensors file" in trainer.said("checkpoint_refused")[0]["reason"]


@pytest.mark.parametrize("learning_rate", [1e8, 1e30])
def test_a_broken_state_is_never_saved(trainer: Trainer, learning_rate: float) -> None:
    training = replace(trainer.setup.training, learning_rate=learning_rate, warmup=0.0)
    trainer.setup = replace(trainer.setup, model=TINY, training=training)
    with pytest.raises(DivergedError) as first:
        trainer.run()
    assert all(load_file(path)["losses"].isfinite().all() for path in trainer.files())
    assert all(event["step"] < first.value.step for event in trainer.said("checkpoint"))
    with pytest.raises(DivergedError) as again:
        trainer.run()
    assert str(again.value) == str(first.value)


def test_everything_is_saved(make_setup: Callable[..., Setup], cpu: Device) -> None:
    """Moments that AdamW has not made yet, and buffers that no file of a model holds, are there too."""
    state = new_state(make_setup(LLAMA), cpu)
    copies = state.copies()
    names = {name for name, _ in state.model.named_parameters()}
    for kind in ("weight", "exp_avg", "exp_avg_sq", "step"):
        assert {name.partition("/")[2] for name in copies if name.startswith(f"{kind}/")} == names
    assert any(name.startswith("buffer/") and "inv_freq" in name for name in copies)
    assert len({tensor.untyped_storage().data_ptr() for tensor in copies.values()}) == len(copies)


def test_a_full_disk_is_an_error_and_leaves_what_was_saved(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer.killed(event="checkpoint", step=3)
    before = sorted(trainer.folder.iterdir())

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(Path, "write_bytes", full)
        trainer.run()
    assert sorted(trainer.folder.iterdir()) == before
    assert same(trainer.run(), trainer.undisturbed())
