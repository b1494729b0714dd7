"""Trains models side by side: E members of one architecture, each on its own split.

    results = train_stack(setup, splits, documents, device, report, checkpoints)        one for each split

A small model leaves a GPU idle: the time goes into starting kernels. A stack starts each once for all its members.
Nothing else is shared: a member has the initialization, the order of windows, the rates, the clipping and the number of
steps that `train_split` gives its split, so the losses are the same but for rounding. A member that has finished does
not move; one that diverges ends as a `DivergedError` of its split alone.

On a CPU it is no gain, and the width is 1 by default: GPT-2 of width 64 with 2 layers on one core of a Zen 4 reads
35,000 tokens/s in stacks of 1, 2 and 4, and 42,000 alone; 31,000 to 35,000 on Bible verses, and 38,000 alone.

Shapes: E members, D documents and evaluation texts, V evaluations.
"""

import copy
import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from memo.errors import DivergedError
from memo.lm.acceleration import candidates, choose_acceleration
from memo.lm.checkpoint import Checkpoints, Report
from memo.lm.device import Device, activate
from memo.lm.stack_schedule import EpochSteps, Member, members_of
from memo.lm.stack_state import StackState
from memo.lm.stack_step import PlainStep, Step
from memo.lm.stackable import why_not
from memo.lm.stacked_attention import NotStackableError
from memo.lm.stacked_evaluate import stacked_document_losses, stacked_token_losses
from memo.lm.stacked_model import StackedModel
from memo.lm.stacked_optimizer import StackedAdamW
from memo.lm.train import REPORT_INTERVAL_S, Setup, SplitResult, new_model


def train_stack(
    setup: Setup,
    splits: Sequence[int],
    documents: Sequence[np.ndarray],
    device: Device,
    report: Report = lambda event: None,
    checkpoints: Checkpoints | None = None,
) -> list[SplitResult | DivergedError]:
    """Trains each split on its documents, indices into the D, and evaluates all D; in the order of `splits`.

    As `train_split`, with events of all members at once: `splits` where that has `split`. Further events: `diverged`
    (of one `split`), `acceleration`, `memory`. Raises `NotStackableError` where `why_not` has a reason, `MemoError`
    where a split has no tokens, `torch.OutOfMemoryError`; then nothing is done.
    """
    started = time.perf_counter()
    activate(device)
    reason = why_not(setup, device)
    if reason is not None:
        raise NotStackableError(f"models of this kind cannot be stacked: {reason}; train them one by one")
    members = members_of(setup, splits, documents)
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = stacked_model(setup, splits, device)
    optimizer = StackedAdamW(model.weights, setup.training.weight_decay, setup.training.clip)
    epochs, evaluations = setup.training.epochs, setup.training.evaluations
    most = epochs * max(member.batches for member in members)
    state = StackState(splits, model, optimizer, most, len(evaluations), len(setup.offsets) - 1)
    tokens = torch.from_numpy(setup.tokens).to(device.torch_device)
    if checkpoints is not None:
        checkpoints.restore(state, report)
    step: Step | None = None
    progress = _Progress(state, members, epochs, report)
    while state.epoch <= epochs and state.sound.any():
        batches = EpochSteps(setup, members, state.epoch, device.torch_device)
        step = step or _accelerated(setup, model, optimizer, tokens, batches, report, most - state.step)
        while state.batch < batches.count:
            at, active = state.batch, batches.active[state.batch] & state.sound
            if not active.any():
                break
            longest = batches.longest_of(at, active)
            moving = torch.from_numpy(active).to(device.torch_device, non_blocking=True)
            losses = step(batches.start[at], batches.length[at], longest, batches.rates[at], moving)
            positions = batches.start.shape[2] * longest
            state.add_step(torch.where(moving, losses, 0.0), batches.tokens[at] * active, positions * active)
            progress.look()
            if checkpoints is not None and checkpoints.due():
                progress.flush()  # members whose loss is not a number are marked in what is saved
                checkpoints.save(state, report)
        progress.flush()
        if state.epoch in evaluations:
            _evaluate(setup, state, tokens, report)
        state.next_epoch()
        if checkpoints is not None and checkpoints.due():
            checkpoints.save(state, report)
    _report_memory(device, len(splits), report)
    kept = None
    if setup.kept is not None:
        kept = stacked_token_losses(model, tokens, setup.offsets, setup.context_tokens, setup.bos, setup.kept)
    return _results(setup, state, members, kept, time.perf_counter() - started)


def stacked_model(setup: Setup, splits: Sequence[int], device: Device) -> StackedModel:
    """Every split's own initialization, one after the other: more than two are never in memory outside the stack."""
    model = StackedModel(new_model(setup, splits[0]), len(splits), device)
    for member, split in enumerate(splits):
        model.weights.put(member, new_model(setup, split))
    return model


def _accelerated(
    setup: Setup,
    model: StackedModel,
    optimizer: StackedAdamW,
    tokens: torch.Tensor,
    batches: EpochSteps,
    report: Report,
    steps_left: int,
) -> Step:
    """The fastest step, tried on the epoch's typical batch with members that do not move."""
    plain = PlainStep(model, optimizer, tokens, setup.bos)
    at = int(np.argsort(batches.longest.max(1))[batches.count // 2])
    idle = torch.zeros(model.members, dtype=torch.bool, device=tokens.device)
    longest = int(batches.longest[at].max())

    def try_out(step: Step) -> None:
        step(batches.start[at], batches.length[at], longest, batches.rates[at], idle).sum().item()  # waits

    ways = candidates(
        plain,
        lambda: PlainStep(model, optimizer, tokens, setup.bos, compiled=True),
        setup.context_tokens,
        model.device.kind,
    )
    return choose_acceleration(ways, try_out, report, steps_left)


def _evaluate(setup: Setup, state: StackState, tokens: torch.Tensor, report: Report) -> None:
    """Every document under every member. The last step of an epoch can break a model whose own loss was finite."""
    report({"event": "evaluate", **state.who, "epoch": state.epoch})
    loss, n_correct = stacked_document_losses(state.model, tokens, setup.offsets, setup.context_tokens, setup.bos)
    broken = ~np.isfinite(loss) & (np.diff(setup.offsets) > 0)  # (E, D)
    for member in np.flatnonzero(broken.any(axis=1) & state.sound):
        _fail(state, int(member), state.epoch, None, float(loss[member, broken[member]][0]), report)
    state.add_evaluation(loss, n_correct)


def _fail(state: StackState, member: int, epoch: int, step: int | None, loss: float, report: Report) -> None:
    state.fail(member, epoch, step, loss)
    report({"event": "diverged", "split": int(state.splits[member]), "epoch": epoch, "error": str(state.error(member))})


def _results(
    setup: Setup, state: StackState, members: Sequence[Member], kept: np.ndarray | None, seconds: float
) -> list[SplitResult | DivergedError]:
    blank = new_model(setup, members[0].split)
    results: list[SplitResult | DivergedError] = []
    for e, member in enumerate(members):
        error = state.error(e)
        if error is not None:
            results.append(error)
            continue
        trained, computed = int(state.tokens[e]), int(state.positions[e])
        results.append(
            SplitResult(
                loss=state.loss[e].numpy(),
                n_correct=state.n_correct[e].numpy(),
                model=state.model.export(e, copy.deepcopy(blank)),
                steps=member.batches * setup.training.epochs,
                trained_tokens=trained,
                padding_share=1.0 - trained / computed,
                seconds=seconds / len(members),  # its share: they were trained in the same time
                token_loss=None if kept is None else kept[e].copy(),
            )
        )
    return results


def _report_memory(device: Device, members: int, report: Report) -> None:
    if device.kind == "cuda":
        peak = torch.cuda.max_memory_allocated()
        report({"event": "memory", "width": members, "peak_bytes": peak, "bytes_per_member": peak // members})


class _Progress:
    """Looks at the losses about once a second: they are on the device, and reading each would wait for each step."""

    def __init__(self, state: StackState, members: Sequence[Member], epochs: int, report: Report) -> None:
        self.state, self.epochs, self.report = state, epochs, report
        self.batches = np.array([member.batches for member in members])  # (E,)
        self._remember()

    def _remember(self) -> None:
        self._step, self._batch, self._at = self.state.step, self.state.batch, time.perf_counter()
        self._tokens = int(self.state.tokens.sum())

    def look(self) -> None:
        if time.perf_counter() - self._at >= REPORT_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Reports the steps since the last time; a member with a loss among them that is not a number has diverged.

        Called at least once an epoch: the steps in question are all of this one.
        """
        state = self.state
        losses = state.losses[self._step : state.step].cpu().numpy()  # (steps, E)
        if len(losses):
            first = state.batch - len(losses)
            active = (np.arange(first, state.batch)[:, None] < self.batches) & state.sound
            self._find_broken(losses, active, first)
            good = losses[active & np.isfinite(losses)]
            tokens = int(state.tokens.sum()) - self._tokens
            self.report(
                {
                    **state.who,
                    "epoch": state.epoch,
                    "epochs": self.epochs,
                    "step": state.step,
                    "steps": len(state.losses),
                    "loss": float(good.mean()) if len(good) else math.nan,
                    "tokens_per_s": tokens / max(time.perf_counter() - self._at, 1e-9),
                }
            )
        self._remember()

    def _find_broken(self, losses: np.ndarray, active: np.ndarray, first: int) -> None:
        broken = active & ~np.isfinite(losses)
        for member in np.flatnonzero(broken.any(axis=0)):
            row = int(broken[:, member].argmax())
            own = (self.state.epoch - 1) * int(self.batches[member]) + first + row + 1
            _fail(self.state, int(member), self.state.epoch, own, float(losses[row, member]), self.report)
