"""Trains one model on one split and measures every document's loss.

    setup = Setup(tokens, offsets, context_tokens, bos, vocab_size, config.model, config.training, config.seed)
    result = train_split(setup, split, documents, choose())

Every random choice comes from a named stream of the campaign's seed, so a split's result depends neither on the worker
nor on other splits. On a CPU it is the same to the last bit in every process on the same kind of machine, also where a
process was killed and the next went on from a checkpoint.

Measured on one core of a Zen 4, GPT-2 of width 64 with 2 layers, vocabulary 1024, context 128, batch 16: 42,000
tokens/s, 38,000 on Bible verses of 39 tokens; matrix products and attention alone would allow 60,000.

Shapes: N tokens, D documents and evaluation texts, B windows, T tokens of a window, E evaluations.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from memo import seeding
from memo.errors import DivergedError, MemoError
from memo.lm.attention import use_bfloat16_attention
from memo.lm.batches import Windows, collate, counted, epoch_order, windows
from memo.lm.checkpoint import Checkpoints, Report
from memo.lm.device import Device, activate
from memo.lm.evaluate import by_document, token_losses, tokens_of
from memo.lm.model import build_config, build_model, pretrained_name
from memo.lm.readout import Readout
from memo.lm.state import State

REPORT_INTERVAL_S = 1.0


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
    # Consecutive splits that share when short and long batches come: `batches.COHORT` where they are trained in stacks,
    # which would mostly pad otherwise. Alone, sharing only makes scores of small campaigns a little noisier.
    cohort: int = 1
    kept: np.ndarray | None = None  # (K,) texts, rising, whose single tokens' losses are wanted


@dataclass
class SplitResult:
    """A trained model and what was measured on the way."""

    loss: np.ndarray  # (E, D) float32, mean nats per token; NaN for a text without tokens
    n_correct: np.ndarray  # (E, D) float32, tokens whose target had the largest logit
    model: PreTrainedModel
    steps: int
    trained_tokens: int  # targets, over all epochs
    padding_share: float  # of the computed positions
    seconds: float  # evaluations included; of this attempt alone, where it went on from a checkpoint
    token_loss: np.ndarray | None = None  # (n,) float32, nats of the tokens of `Setup.kept` at the last evaluation


def new_model(setup: Setup, split: int) -> PreTrainedModel:
    """The model that this split starts from, on the CPU."""
    config = build_config(setup.model, setup.vocab_size, setup.context_tokens, setup.bos)
    key = seeding.key("initialization", split, seed=setup.seed)
    return build_model(config, key, pretrained_name(setup.model))


def train_split(
    setup: Setup,
    split: int,
    documents: np.ndarray,
    device: Device,
    report: Report = lambda event: None,
    checkpoints: Checkpoints | None = None,
) -> SplitResult:
    """Trains on these documents, indices into the D (twice for two copies), and evaluates all D.

    Goes on from the newest whole one of `checkpoints` and saves into them. `report` gets steps about once a second, and
    events with a key `event`: `restored`, `checkpoint_refused`, `checkpoint`, `evaluate`. The loss of a batch is its
    mean over tokens. Raises `DivergedError` when a loss turns NaN or infinite, `MemoError` where there are no tokens.
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
    if device.kind == "cpu" and device.precision == "bfloat16":
        use_bfloat16_attention(model)
    readout = Readout(model)
    optimizer = torch.optim.AdamW(parameter_groups(model, training.weight_decay), lr=rates[0], fused=True)
    state = State(split, model, optimizer, device, steps, len(training.evaluations), len(setup.offsets) - 1)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    nll: np.ndarray | None = None
    cast = torch.autocast(device.kind, device.compute_dtype, enabled=device.precision != "float32")

    with torch.random.fork_rng(devices=[where] if device.kind == "cuda" else []):
        torch.manual_seed(seeding.key("dropout", split, seed=setup.seed))
        if checkpoints is not None:
            checkpoints.restore(state, report)
        progress = _Progress(state, training.epochs, report)
        model.train()
        while state.epoch <= training.epochs:
            for indices in order_of(setup, split, state.epoch, table)[state.batch :]:
                for group in optimizer.param_groups:
                    group["lr"] = rates[state.step]
                inputs, targets = collate(setup.tokens, table, indices, setup.bos)
                places, wanted = (part.to(where, non_blocking=True) for part in counted(targets))
                with cast:
                    features = readout.features(inputs.to(where, non_blocking=True))  # (B, T, H)
                loss = readout.mean_loss(features.flatten(0, 1)[places], wanted, device.compute_dtype)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(parameters, training.clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                state.add_step(loss.detach(), len(wanted), inputs.numel())
                progress.look()
                if checkpoints is not None and checkpoints.due():
                    progress.flush()  # raises where a loss is not a number: such a state is never saved
                    checkpoints.save(state, report)
            progress.flush()
            if state.epoch in training.evaluations:
                report({"event": "evaluate", "split": split, "epoch": state.epoch})
                nll = _evaluate(setup, state)
            state.next_epoch()
            if checkpoints is not None and checkpoints.due():
                checkpoints.save(state, report)

    model.eval()
    return SplitResult(
        loss=state.loss.numpy(),
        n_correct=state.n_correct.numpy(),
        model=model,
        steps=steps,
        trained_tokens=state.tokens,
        padding_share=1.0 - state.tokens / state.positions,
        seconds=time.perf_counter() - started,
        token_loss=_kept(setup, state, nll),
    )


def _evaluate(setup: Setup, state: State) -> np.ndarray:
    """Measures every text, and gives the nats of every token: (N,)."""
    nll, correct = _token_losses(setup, state.model, state.device)
    loss_row, correct_row = by_document(nll, correct, setup.offsets)
    _refuse_broken(loss_row, setup.offsets, state.split, state.epoch)
    state.add_evaluation(loss_row, correct_row)
    return nll


def _kept(setup: Setup, state: State, nll: np.ndarray | None) -> np.ndarray | None:
    """(n,) nats of the tokens that are wanted; nll: (N,) of the last evaluation, None where a checkpoint came after it,
    which does not hold them."""
    if setup.kept is None:
        return None
    nll = _token_losses(setup, state.model, state.device)[0] if nll is None else nll
    return nll[tokens_of(setup.offsets, setup.kept)]


def _token_losses(setup: Setup, model: PreTrainedModel, device: Device) -> tuple[np.ndarray, np.ndarray]:
    return token_losses(model, setup.tokens, setup.offsets, setup.context_tokens, setup.bos, device)


def order_of(setup: Setup, split: int, epoch: int, table: Windows) -> list[np.ndarray]:
    """Batches of a split's epoch, from `windows` of its documents in rising order."""
    own = seeding.generator("order", split, epoch, seed=setup.seed)
    shared = seeding.generator("lengths", split // setup.cohort, epoch, seed=setup.seed)
    return epoch_order(table.length, setup.training.batch_size, own, shared)


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
        raise DivergedError(split, epoch, None, float(loss[broken][0]))


class _Progress:
    """Looks at the losses about once a second: they are on the device, and reading each would wait for each step."""

    def __init__(self, state: State, epochs: int, report: Report) -> None:
        self.state, self.epochs, self.report = state, epochs, report
        self._step, self._tokens, self._at = state.step, state.tokens, time.perf_counter()
        self._checked = state.step

    def look(self) -> None:
        if time.perf_counter() - self._at >= REPORT_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Raises `DivergedError` if a loss so far is not a number; reports, but not more than once a second."""
        state = self.state
        for step, loss in enumerate(state.losses[self._checked : state.step].tolist(), self._checked + 1):
            if not math.isfinite(loss):
                raise DivergedError(state.split, state.epoch, step, loss)
        self._checked = state.step
        elapsed = time.perf_counter() - self._at
        if state.step > self._step and (elapsed >= REPORT_INTERVAL_S or state.step == len(state.losses)):
            self.report(
                {
                    "split": state.split,
                    "epoch": state.epoch,
                    "epochs": self.epochs,
                    "step": state.step,
                    "steps": len(state.losses),
                    "loss": float(state.losses[self._step : state.step].mean()),
                    "tokens_per_s": (state.tokens - self._tokens) / max(elapsed, 1e-9),
                }
            )
            self._step, self._tokens, self._at = state.step, state.tokens, time.perf_counter()
