"""Trains any number of splits, in stacks where that is possible and one by one where it is not.

    for split, result in train_stacks(setup, splits, documents, device, report, width=32):
        ...                                   a SplitResult, or the error of this split alone

A stack that does not fit the memory is halved and tried again, and so is every one after it; that is an event and not
an error. What a model of its own would not survive either is raised.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from memo.errors import DivergedError
from memo.lm.checkpoint import Checkpoints, Report
from memo.lm.device import Device
from memo.lm.stack import train_stack
from memo.lm.stack_width import even_width
from memo.lm.train import Setup, SplitResult, train_split

Result = SplitResult | DivergedError


def train_stacks(
    setup: Setup,
    splits: Sequence[int],
    documents: Callable[[int], np.ndarray],
    device: Device,
    report: Report,
    width: int,
    checkpoints: Callable[[Sequence[int]], Checkpoints | None] = lambda members: None,
) -> Iterator[tuple[int, Result]]:
    """Results as stacks end, all of a stack at once. `documents` of a split; `checkpoints` of a stack's members."""
    left = list(splits)
    while left:
        members = left[: even_width(len(left), width)]
        try:
            results = train_together(setup, members, documents, device, report, checkpoints(members))
        except torch.OutOfMemoryError:
            if len(members) == 1:
                raise
            width = -(-len(members) // 2)
            report({"event": "out_of_memory", "splits": members, "width": len(members), "next_width": width})
        else:
            yield from zip(members, results, strict=True)
            left = left[len(members) :]
            continue
        if device.kind == "cuda":
            torch.cuda.empty_cache()  # here, where the error no longer holds on to the stack


def train_together(
    setup: Setup,
    members: Sequence[int],
    documents: Callable[[int], np.ndarray],
    device: Device,
    report: Report,
    checkpoints: Checkpoints | None,
) -> list[Result]:
    """One stack of these splits, or one model; in their order. Raises as `train_stack` and `train_split` do."""
    chosen = [documents(split) for split in members]
    if len(members) > 1:
        return train_stack(setup, members, chosen, device, report, checkpoints)
    try:
        return [train_split(setup, members[0], chosen[0], device, report, checkpoints)]
    except DivergedError as error:
        return [error]
