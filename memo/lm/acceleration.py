"""Whether to record steps as CUDA graphs or to compile them: measured, because it depends on model, width and machine.

    step = choose_acceleration(candidates(plain, compiled, longest, device), try_out, report, steps_left)

Each candidate takes a few steps in which no member moves. One that fails is passed over with its reason. Compiling
takes a minute or so, which only a long training earns back; it is tried where one is ahead. On a CPU the plain step is
taken unmeasured: kernels start at once there, and compiling has to be worth its minute in a training of minutes.
"""

import time
from collections.abc import Callable, Mapping

import torch

from memo.lm.checkpoint import Report
from memo.lm.stack_step import GraphedStep, Step

TRIES = 5
LONG_S = 1200.0  # a training that plain steps would take longer for is worth compiling
CLEARLY = 0.95  # of the plain step's time, or it is not worth the memory of recordings


def candidates(plain: Step, compiled: Callable[[], Step], longest: int, kind: str) -> dict[str, Callable[[], Step]]:
    """By name, the plain one first."""
    ways: dict[str, Callable[[], Step]] = {"plain": lambda: plain}
    if kind == "cuda":
        ways["graphs"] = lambda: GraphedStep(plain, longest)
        ways["compiled graphs"] = lambda: GraphedStep(compiled(), longest)
    return ways


def choose_acceleration(
    ways: Mapping[str, Callable[[], Step]], try_out: Callable[[Step], None], report: Report, steps_left: int
) -> Step:
    """The fastest way to take steps like those of `try_out`, which takes one and waits until it is done."""
    if len(ways) == 1:
        report(
            {"event": "acceleration", "chosen": "plain", "reason": "nothing else on this device", "milliseconds": {}}
        )
        return ways["plain"]()
    taken: dict[str, float] = {}
    failed: dict[str, str] = {}
    built: dict[str, Step] = {}
    for name, build in ways.items():
        if "compiled" in name and min(taken.values()) * steps_left < LONG_S:
            failed[name] = "not tried: the training is short"
            continue
        try:
            built[name] = build()
            taken[name] = _seconds(built[name], try_out)
        except torch.OutOfMemoryError:
            if name == "plain":
                raise  # the stack is too wide, however its steps are taken
            failed[name] = "out of memory"
        except Exception as error:  # whatever recording and compiling other people's models raise
            if name == "plain":
                raise
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    best = min(taken, key=lambda name: taken[name])
    chosen = best if taken[best] < CLEARLY * taken["plain"] else "plain"
    milliseconds = {name: round(1000 * seconds, 3) for name, seconds in taken.items()}
    reason = "; ".join(f"{name}: {why}" for name, why in failed.items()) or "the fastest of all"
    report({"event": "acceleration", "chosen": chosen, "reason": reason, "milliseconds": milliseconds})
    return built[chosen]


def _seconds(step: Step, try_out: Callable[[Step], None]) -> float:
    """Of the fastest of a few steps after one that compiles, records and fills caches."""
    try_out(step)
    best = float("inf")
    for _ in range(TRIES):
        started = time.perf_counter()
        try_out(step)
        best = min(best, time.perf_counter() - started)
    return best
