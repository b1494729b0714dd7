"""How many models to train side by side, from the memory of the device and a short measurement.

    plan = plan_width(setup, device, "auto", splits=200, report=print)
    plan.width, plan.reason

What a member takes is known before anything is trained: 16 bytes a parameter for weights, gradients and AdamW's two
moments, the copies in the precision of training, and what backward needs, counted on one step of one member with the
longest windows. On a GPU that is room for thousands of small models, far more than make it faster. So the width is
doubled from 1 as long as that makes training faster by a tenth and memory is left; the step of the chosen width also
says how well memory was predicted. On a CPU the answer is 1.

Shapes: E members, B windows, T tokens, H width, V vocabulary.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from memo.lm.batches import COHORT
from memo.lm.checkpoint import Report
from memo.lm.device import Device
from memo.lm.stack_step import PlainStep
from memo.lm.stackable import why_not
from memo.lm.stacked_model import StackedModel
from memo.lm.stacked_optimizer import StackedAdamW
from memo.lm.stacked_readout import chunk_tokens
from memo.lm.train import Setup, new_model

SHARE = 0.85  # of the free memory: the rest is for evaluation, the allocator's gaps and other recordings
WORTH = 1.1  # a doubled width has to train so much faster
TRIES = 3
FLOAT = 4  # bytes


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


@dataclass(frozen=True)
class Plan:
    width: int
    reason: str
    predicted: MemberBytes | None = None
    measured: int | None = None  # bytes of a member at the peak of a step, where a GPU was there to measure it


def plan_width(
    setup: Setup, device: Device, wanted: int | Literal["auto"], splits: int, report: Report = lambda event: None
) -> Plan:
    """The width for `splits` models. A number is taken as it is, up to the size of a cohort."""
    most = min(splits, COHORT)
    if most == 1 or wanted == 1:
        plan = Plan(1, "one split" if most == 1 else "set by the user")
    elif wanted == "auto" and device.kind != "cuda":
        plan = Plan(1, "on a CPU a stack is no faster")
    elif (reason := why_not(setup, device)) is not None:
        plan = Plan(1, f"trained one by one: {reason}")
    elif wanted != "auto":
        plan = Plan(min(wanted, most), "set by the user")
    else:
        plan = _measured_plan(setup, device, most)
    found = {"predicted": plan.predicted.total if plan.predicted else None, "measured": plan.measured}
    report({"event": "width", "width": plan.width, "reason": plan.reason, "bytes_per_member": found})
    return plan


def even_width(splits: int, width: int) -> int:
    """No wider than `width`, with stacks as equal as they can be: 100 splits at 64 are two stacks of 50."""
    stacks = -(-splits // width)
    return -(-splits // stacks)


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


def _longest_windows(setup: Setup, stack: StackedModel) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (stack.members, setup.training.batch_size, setup.context_tokens)
    tokens = torch.zeros(shape, dtype=torch.int64, device=stack.device.torch_device)
    return tokens, tokens


def _measured_plan(setup: Setup, device: Device, most: int) -> Plan:
    predicted = predict_bytes(setup, device)
    torch.cuda.empty_cache()
    room = int(SHARE * torch.cuda.mem_get_info()[0])
    by_memory = max(1, min(most, room // predicted.total))
    width, speed, taken = 1, 0.0, None
    while True:
        try:
            found, peak = _try_width(setup, device, width)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            reason, width = "memory", max(1, width // 2)
            break
        if found < WORTH * speed:
            reason, width = f"a stack of {width} is no faster", width // 2
            break
        speed, taken = found, peak // width
        if 2 * width > by_memory:
            reason = "memory" if by_memory < most else "there are no more splits" if most < COHORT else "widest"
            width = by_memory
            break
        width *= 2
    return Plan(width, f"measured: {reason}", predicted, taken)


def _try_width(setup: Setup, device: Device, width: int) -> tuple[float, int]:
    """Positions per second, and bytes at the peak, of steps in which no member moves. All members are alike here."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    blank = new_model(setup, 0)
    stack = StackedModel(new_model(setup, 0), width, device)
    for member in range(width):
        stack.weights.put(member, blank)
    optimizer = StackedAdamW(stack.weights, setup.training.weight_decay, setup.training.clip)
    where, batch, longest = device.torch_device, setup.training.batch_size, setup.context_tokens
    tokens = torch.zeros(longest, dtype=torch.int32, device=where)
    step = PlainStep(stack, optimizer, tokens, setup.bos)
    start = torch.zeros(width, batch, dtype=torch.int64, device=where)
    length, rates = start + longest, torch.zeros(width, device=where)
    idle = torch.zeros(width, dtype=torch.bool, device=where)
    best = float("inf")
    for _ in range(TRIES + 1):  # the first is not faster than the others
        started = time.perf_counter()
        step(start, length, longest, rates, idle).sum().item()  # waits
        best = min(best, time.perf_counter() - started)
    return width * batch * longest / best, torch.cuda.max_memory_allocated() - before
