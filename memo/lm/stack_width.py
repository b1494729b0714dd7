"""How many models to train side by side, from the memory of the device and a short measurement.

    plan = plan_width(setup, device, "auto", splits=200, report=print)
    plan.width, plan.reason

On a GPU there is room for thousands of small models (`stack_memory` predicts what one takes), far more than make it
faster. So the width is doubled from 1 as long as that makes training faster by a tenth and memory is left; the step of
the chosen width also says how well memory was predicted. On a CPU the answer is 1.
"""

import time
from dataclasses import dataclass
from typing import Literal

import torch

from memo.lm.batches import COHORT
from memo.lm.checkpoint import Report
from memo.lm.device import Device
from memo.lm.stack_memory import MemberBytes, idle_step, peak_bytes, predict_bytes
from memo.lm.stackable import why_not
from memo.lm.train import Setup

SHARE = 0.85  # of the free memory: the rest is for evaluation, the allocator's gaps and other recordings
WORTH = 1.1  # a doubled width has to train so much faster
TRIES = 3


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
    """Positions per second, and bytes at the peak, of steps in which no member moves."""

    def steps() -> float:
        step, best = idle_step(setup, device, width), float("inf")
        for _ in range(TRIES + 1):  # the first is not faster than the others
            started = time.perf_counter()
            step()
            best = min(best, time.perf_counter() - started)
        return best

    best, peak = peak_bytes(device.kind, steps)
    return width * setup.training.batch_size * setup.context_tokens / best, peak
