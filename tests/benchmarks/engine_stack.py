"""memo's stacks in the benchmark of the training engine: many models trained at once on one GPU.

    check(device, say)                          one stacked step equals one step alone, for every architecture
    memory(device, precision, rows, width, say) what a member takes at the peak of a step, predicted and measured
    Stack(corpus, device).train(work)           the variant (c) on a GPU
    headline(device, minutes, models, width, say)       400 models of 5 M parameters: a few minutes of it, extrapolated

`_train` and `_plan` are all that know how memo's stacks are called.
"""

import contextlib
import dataclasses
import gc
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import engine_corpus
import numpy as np
import torch
from engine_corpus import MODELS, Corpus
from engine_variants import Variant, Work, matmul_rate, setup_of

from memo.lm.device import Device, activate
from memo.lm.stack import train_stack
from memo.lm.stack_memory import idle_step, peak_bytes, predict_bytes
from memo.lm.stack_width import Plan, plan_width
from memo.lm.train import Setup, SplitResult, train_split

Say = Callable[[str], None]
TOLERANCE = 1e-5  # relative, of a document's loss after one step in float32
HEADLINE = {"architecture": "gpt2", "size": "5M", "documents": 8000, "tokens": 256, "epochs": 20}
MODELS_AT_MOST = 400  # that a campaign would train, as in the headline
LOOKED_AT = 4  # models of a stack whose training loss is measured


def _train(
    setup: Setup, splits: Sequence[int], documents: Sequence[np.ndarray], device: Device, report: Callable[..., None]
) -> list[SplitResult]:
    results = []
    for result in train_stack(setup, splits, documents, device, report):
        if isinstance(result, Exception):  # a member that diverged
            raise result
        results.append(result)
    return results


def _plan(setup: Setup, device: Device, width: int | None, splits: int) -> Plan:
    """How many models the engine trains at once, and the memory that it expects them to take."""
    return plan_width(setup, device, width or "auto", splits)


class Stack(Variant):
    """(c) on a GPU: as many models at once as the engine chooses."""

    def __init__(self, corpus: Corpus, device: str) -> None:
        super().__init__(corpus, device)
        activate(Device(device, "float32"))
        self.splits: list[int] = []
        self.widths: dict[str, int] = {}

    def train(self, work: Work) -> dict[str, Any]:
        device, setup = Device(self.device, work.precision), setup_of(self.corpus, work)
        key = json.dumps([work.model, work.precision, work.width], sort_keys=True)
        if key not in self.widths:  # found once for each model: a campaign does not ask again either
            self.widths[key] = _plan(setup, device, work.width, MODELS_AT_MOST).width
        width = self.widths[key]
        self.splits = list(range(width))
        documents = [engine_corpus.half(self.corpus, split, work.share) for split in self.splits]
        _reset_peak(self.device)
        results = _train(setup, self.splits, documents, device, lambda event: None)
        self.synchronize()
        targets = sum(result.trained_tokens for result in results)
        positions = sum(round(result.trained_tokens / (1 - result.padding_share)) for result in results)
        self.models = [result.model for result in results[:LOOKED_AT]]
        return {"targets": targets, "positions": positions, "models": width, "peak_bytes": _peak(self.device) / width}

    def losses(self, work: Work) -> list[float]:
        return super().losses(dataclasses.replace(work, splits=self.splits[: len(self.models)]))


def _reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else 0


def check(kind: str, say: Say) -> bool:
    """Three models of each architecture, one batch each: the losses of all documents after it, stacked and alone."""
    corpus, device, held = engine_corpus.synthetic([32, 32], 48), Device(kind, "float32"), True
    splits = [0, 1, 2]
    documents = [np.arange(16) + 16 * split for split in splits]
    say(
        "One step of a stack of three against one step alone, float32: largest relative difference of a document's loss"
    )
    for name in MODELS:
        work = Work(MODELS[name]["0.2M"], "float32", splits, epochs=1)
        setup = setup_of(corpus, work, window=32, evaluations=(1,), warmup=0.0)
        alone = [train_split(setup, split, documents[split], device).loss for split in splits]
        stacked = [result.loss for result in _train(setup, splits, documents, device, lambda event: None)]
        worst = max(float(np.abs(a / b - 1).max()) for a, b in zip(stacked, alone, strict=True))
        held = held and worst <= TOLERANCE
        say(f"  {name:<9} {worst:.1e}  {'equal' if worst <= TOLERANCE else f'NOT EQUAL, expected at most {TOLERANCE}'}")
    say("")
    return held


def memory(kind: str, precision: str, rows: Sequence[tuple[str, str]], width: int, say: Say) -> None:
    """One row for each architecture and size: megabytes of a member of a stack at the peak of a step."""
    corpus, device = engine_corpus.synthetic([32, 32], 48), Device(kind, precision)
    activate(device)
    say(f"Stacks of {width} in {precision}: MB of a member at the peak of a step, predicted and measured")
    for name, size in rows:
        setup = setup_of(corpus, Work(MODELS[name][size], precision, [], epochs=1))
        predicted = predict_bytes(setup, device, width).total
        _, taken = peak_bytes(kind, lambda setup=setup: idle_step(setup, device, width)())
        error = predicted / (taken / width) - 1
        say(f"  {name:<9} {size:<5} {predicted / 1e6:7.1f} {taken / width / 1e6:7.1f}  {100 * error:+.1f} %")
    say("")


class _Enough(Exception):
    """The minutes are over."""


class _Watch:
    """Counts the steps of a stack and ends its training after some minutes."""

    def __init__(self, minutes: float) -> None:
        self.until = time.perf_counter() + 60 * minutes
        self.seen: list[tuple[float, int, int]] = []
        self.evaluating: float | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        now = time.perf_counter()
        if event.get("event") == "evaluate" and self.evaluating is None:
            self.evaluating = now
        if "steps" in event:
            self.seen.append((now, event["step"], event["steps"]))
            if now > self.until:
                raise _Enough

    def training_s(self) -> float:
        """Of all steps, at the pace between the first report and the last: the first steps are slower."""
        (first_at, first, steps), (last_at, last, _) = self.seen[0], self.seen[-1]
        return steps * (last_at - first_at) / (last - first)


def headline(kind: str, minutes: float, models: int, width: int | None, say: Say) -> None:
    """So many models on halves of the documents: a stack of them for some minutes, and what all of it would take."""
    activate(Device(kind, "float32"))
    precision = "bfloat16" if kind == "cuda" else "float32"
    device, count, length = Device(kind, precision), HEADLINE["documents"], HEADLINE["tokens"]
    corpus = engine_corpus.synthetic([length, length], count)
    work = Work(MODELS[HEADLINE["architecture"]][HEADLINE["size"]], precision, [], HEADLINE["epochs"])
    setup = setup_of(corpus, work, window=length, evaluations=(work.epochs,))
    plan = _plan(setup, device, width, models)
    width = plan.width
    documents = [engine_corpus.half(corpus, split) for split in range(width)]

    rate = matmul_rate(kind, precision, 8192 if kind == "cuda" else 1024)
    _reset_peak(kind)
    watch = _Watch(minutes)
    with contextlib.suppress(_Enough):
        _train(setup, range(width), documents, device, watch)
    if len(watch.seen) < 2:
        say(f"The headline needs more than {minutes:g} minutes: no two reports came in that time.")
        return
    peak, training = _peak(kind) / width, watch.training_s()
    gc.collect()  # the training that was interrupted
    evaluation = _evaluation_s(setup, width, device)

    total, counted = Variant(corpus, kind).parameters(work)
    targets = width * work.epochs * engine_corpus.targets(corpus, documents[0])
    stacks = math.ceil(models / width)
    done = watch.seen[-1][1] / watch.seen[-1][2]
    say(f"{models} models ({HEADLINE['architecture']}, {total / 1e6:.2f} M parameters, {precision}) on halves of "
        f"{count:,} documents of {length} tokens, {work.epochs} epochs")  # fmt: skip
    say(f"  measured: {100 * done:.1f} % of the training of one stack of {width} models, and one evaluation")
    say(f"  {targets / training:,.0f} targets/s; {100 * 6 * counted * targets / training / rate:.1f} % of "
        f"{rate / 1e12:.2f} TFLOP/s, as in the table")  # fmt: skip
    say(f"  EXTRAPOLATED: {stacks} stacks of {(training + evaluation) / 60:.1f} minutes, "
        f"{stacks * (training + evaluation) / 60:.0f} minutes in all; "
        f"evaluation is {100 * evaluation / (training + evaluation):.1f} % of them")  # fmt: skip
    predicted = plan.predicted or predict_bytes(setup, device, width)
    say(f"  width: {plan.reason}; peak memory {peak / 1e6:.0f} MB per model, predicted {predicted.total / 1e6:.0f} MB")


def _evaluation_s(setup: Setup, width: int, device: Device) -> float:
    """Of all documents under every model of a stack, after a training of one step."""
    brief = dataclasses.replace(setup, training=dataclasses.replace(setup.training, epochs=1, evaluations=(1,)))
    watch = _Watch(math.inf)
    begun = time.perf_counter()
    _train(brief, range(width), [np.arange(16)] * width, device, watch)
    return time.perf_counter() - (watch.evaluating or begun)
