"""Trains one model on one split and measures every document's loss.

    setup = Setup(tokens, offsets, context_tokens, bos, vocab_size, config.model, config.training, config.seed)
    result = train_split(setup, split, documents, choose())

Every random choice comes from a named stream of the campaign's seed, so a split's result depends neither on the worker
nor on other splits. On a CPU it is the same to the last bit in every process on the same kind of machine.

Measured on one core of a Zen 4, GPT-2 of width 64 with 2 layers, vocabulary 1024, context 128, batch 16: 42,000
tokens/s, 38,000 on Bible verses of 39 tokens; matrix products and attention alone would allow 60,000.

Shapes: N tokens, D documents and evaluation texts, B windows, T tokens of a window, E evaluations.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from memo import seeding
from memo.errors import MemoError
from memo.lm.batches import collate, counted, epoch_order, padding_share, windows
from memo.lm.device import Device, activate
from memo.lm.evaluate import document_losses
from memo.lm.model import build_config, build_model, pretrained_name
from memo.lm.readout import Readout

REPORT_INTERVAL_S = 1.0
Report = Callable[[dict[str, Any]], None]


class Settings(Protocol):
    """What training needs to know; `memo.config.Training` fits."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def final_rate(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def evaluations(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Setup:
    """What all splits of a campaign share."""

    tokens: np.ndarray  # (N,) int32
    offsets: np.ndarray  # (D+1,) int64
    context_tokens: int
    bos: int  # the token that opens every window
    vocab_size: int  # of the tokenizer
    model: Mapping[str, Any]  # the `model:` section
    training: Settings
    seed: int


@dataclass
class SplitResult:
    """A trained model and what was measured on the way."""

    loss: np.ndarray  # (E, D) float32, mean nats per token; NaN for a text without tokens
    n_correct: np.ndarray  # (E, D) float32, tokens whose target had the largest logit
    model: PreTrainedModel
    steps: int
    trained_tokens: int  # targets, over all epochs
    padding_share: float  # of the computed positions
    seconds: float  # in all, evaluations included


def new_model(setup: Setup, split: int) -> PreTrainedModel:
    """The model that this split starts from, on the CPU."""
    config = build_config(setup.model, setup.vocab_size, setup.context_tokens, setup.bos)
    key = seeding.key("initialization", split, seed=setup.seed)
    return build_model(config, key, pretrained_name(setup.model))


def train_split(
    setup: Setup, split: int, documents: np.ndarray, device: Device, report: Report = lambda event: None
) -> SplitResult:
    """Trains on these documents, indices into the D (twice for two copies), and evaluates all D.

    The loss of a batch is its mean over tokens. Raises `MemoError` when it turns NaN or infinite.
    """
    started = time.perf_counter()
    activate(device)
    training, where = setup.training, device.torch_device
    table = windows(setup.offsets, setup.context_tokens, np.sort(documents))
    if len(table.start) == 0:
        raise MemoError(f"split {split} has no tokens to train on; expected at least one document with text")
    steps = training.epochs * math.ceil(len(table.start) / training.batch_size)
    rates = learning_rates(steps, training)
    model = new_model(setup, split).to(where)
    readout = Readout(model)
    optimizer = torch.optim.AdamW(parameter_groups(model, training.weight_decay), lr=rates[0], fused=True)
    progress = _Progress(split, training.epochs, steps, where, report)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss_rows, correct_rows, padding = [], [], 0.0
    cast = torch.autocast(device.kind, device.compute_dtype, enabled=device.precision != "float32")

    with torch.random.fork_rng(devices=[where] if device.kind == "cuda" else []):
        torch.manual_seed(seeding.key("dropout", split, seed=setup.seed))
        model.train()
        for epoch in range(1, training.epochs + 1):
            rng = seeding.generator("order", split, epoch, seed=setup.seed)
            batches = epoch_order(table.length, training.batch_size, rng)
            padding += padding_share(table.length, batches) / training.epochs
            for indices in batches:
                for group in optimizer.param_groups:
                    group["lr"] = rates[progress.step]
                inputs, targets = collate(setup.tokens, table, indices, setup.bos)
                places, wanted = (part.to(where, non_blocking=True) for part in counted(targets))
                with cast:
                    features = readout.features(inputs.to(where, non_blocking=True))  # (B, T, H)
                loss = readout.mean_loss(features.flatten(0, 1)[places], wanted, device.compute_dtype)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(parameters, training.clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                progress.add(epoch, loss.detach(), int(table.length[indices].sum()))
            progress.flush(epoch)
            if epoch in training.evaluations:
                loss_row, correct_row = document_losses(
                    model, setup.tokens, setup.offsets, setup.context_tokens, setup.bos, device
                )
                _refuse_broken(loss_row, setup.offsets, split, epoch)
                loss_rows.append(loss_row)
                correct_rows.append(correct_row)

    model.eval()
    return SplitResult(
        loss=np.stack(loss_rows),
        n_correct=np.stack(correct_rows),
        model=model,
        steps=steps,
        trained_tokens=progress.tokens,
        padding_share=padding,
        seconds=time.perf_counter() - started,
    )


def learning_rates(steps: int, training: Settings) -> list[float]:
    """The rate of each step: a linear rise to the peak, then half a cosine towards `final_rate` of it."""
    rising = math.ceil(training.warmup * steps)
    rates = []
    for step in range(steps):
        if step < rising:
            share = (step + 1) / rising
        else:
            cosine = 0.5 + 0.5 * math.cos(math.pi * (step - rising) / (steps - rising))
            share = training.final_rate + (1 - training.final_rate) * cosine
        rates.append(training.learning_rate * share)
    return rates


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, biases and normalization gains do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _refuse_broken(loss: np.ndarray, offsets: np.ndarray, split: int, epoch: int) -> None:
    """The last step of an epoch can break a model whose own loss was still finite."""
    broken = ~np.isfinite(loss) & (np.diff(offsets) > 0)
    if broken.any():
        raise MemoError(
            f"the loss of split {split} became {loss[broken][0]} at the evaluation after epoch {epoch}; "
            "lower training.learning_rate"
        )


class _Progress:
    """Collects losses on the device and looks at them about once a second: reading each would wait for each step."""

    def __init__(self, split: int, epochs: int, steps: int, where: torch.device, report: Report) -> None:
        self.split, self.epochs, self.steps, self.report = split, epochs, steps, report
        self.step = self.tokens = 0
        self._losses = torch.zeros(steps, device=where)
        self._read_steps = self._read_tokens = 0
        self._read_at = time.perf_counter()

    def add(self, epoch: int, loss: torch.Tensor, tokens: int) -> None:
        self._losses[self.step] = loss
        self.step += 1
        self.tokens += tokens
        if time.perf_counter() - self._read_at >= REPORT_INTERVAL_S:
            self.flush(epoch)

    def flush(self, epoch: int) -> None:
        """Reports the steps since the last time; raises if a loss among them is not a number."""
        losses = self._losses[self._read_steps : self.step].tolist()
        for step, loss in enumerate(losses, self._read_steps + 1):
            if not math.isfinite(loss):
                raise MemoError(
                    f"the loss of split {self.split} became {loss} at epoch {epoch}, step {step}; "
                    "lower training.learning_rate"
                )
        now = time.perf_counter()
        if losses:
            self.report(
                {
                    "split": self.split,
                    "epoch": epoch,
                    "epochs": self.epochs,
                    "step": self.step,
                    "steps": self.steps,
                    "loss": sum(losses) / len(losses),
                    "tokens_per_s": (self.tokens - self._read_tokens) / max(now - self._read_at, 1e-9),
                }
            )
        self._read_steps, self._read_tokens, self._read_at = self.step, self.tokens, now
