"""What a member of a stack takes, predicted before anything is trained, and measured.

    predicted = predict_bytes(setup, device).total
    _, taken = peak_bytes(device.kind, lambda: idle_step(setup, device, width)())

16 bytes a parameter for weights, gradients and AdamW's two moments, the copies in the precision of training, and what
backward needs, counted on one forward pass of one member with the longest windows.

Shapes: E members, B windows, T tokens, H width, V vocabulary.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

from memo.lm.batches import COHORT
from memo.lm.device import Device
from memo.lm.stack_step import PlainStep
from memo.lm.stacked_model import StackedModel
from memo.lm.stacked_optimizer import StackedAdamW
from memo.lm.stacked_readout import chunk_tokens
from memo.lm.train import Setup, new_model

FLOAT = 4  # bytes

Result = TypeVar("Result")


@dataclass(frozen=True)
class MemberBytes:
    """What one member of a stack takes, bytes."""

    weights: int
    gradients: int
    moments: int
    cast: int  # copies of weights in the precision of training
    activations: int  # what backward needs, for the longest windows
    readout: int  # gradients of features and output layer, and a chunk of logits

    @property
    def total(self) -> int:
        """At the peak of a step."""
        return self.weights + self.gradients + self.moments + self.cast + self.activations + self.readout


def predict_bytes(setup: Setup, device: Device, width: int = COHORT) -> MemberBytes:
    """In a stack of this width, from the model's sizes and what one forward pass of one member saves for backward."""
    stack = StackedModel(new_model(setup, 0), 1, device)
    layout = stack.weights.layout
    targets = setup.training.batch_size * setup.context_tokens
    with saved_bytes(stack) as saved:
        stack.losses(*_longest_windows(setup, stack))
    head = stack.head_shape
    readout = 0
    if head is not None:
        vocab_size, features = head
        chunk = min(targets, chunk_tokens(width, vocab_size, device.kind))
        # logits, softmax and what comes between them; the gradients that are saved are in `saved`
        readout = 3 * FLOAT * chunk * vocab_size + (FLOAT * vocab_size * features)
    return MemberBytes(
        weights=FLOAT * layout.size,
        gradients=2 * FLOAT * layout.trained,  # those that backward makes, and the rows they are copied to
        moments=2 * FLOAT * layout.trained,
        cast=stack.cast_bytes,
        activations=saved[0],
        readout=readout,
    )


@contextmanager
def saved_bytes(stack: StackedModel) -> Iterator[list[int]]:
    """Counts what the passes inside save for backward, weights not included: a list of one number, bytes."""
    own = stack.weights.values.untyped_storage().data_ptr()
    seen: dict[int, int] = {}
    total = [0]

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() != own and storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = storage.nbytes()
            total[0] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total


def idle_step(setup: Setup, device: Device, width: int) -> Callable[[], None]:
    """A step of so many equal members with the longest windows, in which none moves. It returns when it is done."""
    stack = StackedModel(new_model(setup, 0), width, device)
    blank = new_model(setup, 0)
    for member in range(width):
        stack.weights.put(member, blank)
    optimizer = StackedAdamW(stack.weights, setup.training.weight_decay, setup.training.clip)
    where, batch, longest = device.torch_device, setup.training.batch_size, setup.context_tokens
    step = PlainStep(stack, optimizer, torch.zeros(longest, dtype=torch.int32, device=where), setup.bos)
    start = torch.zeros(width, batch, dtype=torch.int64, device=where)
    length, rates = start + longest, torch.zeros(width, device=where)
    idle = torch.zeros(width, dtype=torch.bool, device=where)

    def run() -> None:
        step(start, length, longest, rates, idle).sum().item()  # waits

    return run


def peak_bytes(kind: str, work: Callable[[], Result]) -> tuple[Result, int]:
    """What `work` returns, and the most that it had allocated on a device of this kind at once, bytes.

    On a GPU by the allocator's own count, on a CPU from torch's profiler, which makes it slow and does not see `work`
    free what was allocated before.
    """
    if kind == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        result = work()
        return result, torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]"]
    taken = peak = 0
    for _, change in sorted(changes, key=lambda one: one[0]):
        taken += change
        peak = max(peak, taken)
    return result, peak


def _longest_windows(setup: Setup, stack: StackedModel) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (stack.members, setup.training.batch_size, setup.context_tokens)
    tokens = torch.zeros(shape, dtype=torch.int64, device=stack.device.torch_device)
    return tokens, tokens
