"""One step of all members: batches, forward, backward, clipping and AdamW, without waiting for the device.

    step = PlainStep(model, optimizer, tokens, bos)
    losses = step(start, length, longest, rates, active)       (E,) mean nats

`GraphedStep` does the same from a recording. A small model's step is hundreds of kernels that take less time than
starting them does; a CUDA graph starts all at once. There is one for each length, so lengths are rounded up a little.
`memo.lm.acceleration` measures which is faster.

Shapes: E members, B windows, T tokens of the longest window.
"""

from collections.abc import Callable

import torch

from memo.lm.stacked_model import StackedModel, cut_windows
from memo.lm.stacked_optimizer import StackedAdamW

# start (E, B), length (E, B), T, rates (E,), active (E,) -> losses (E,)
Step = Callable[[torch.Tensor, torch.Tensor, int, torch.Tensor, torch.Tensor], torch.Tensor]
WARM_UPS = 2  # before a recording: libraries allocate workspaces at their first calls
GRID = 24  # lengths are rounded up by less than one part in so many: 1 to 2 % on average


class PlainStep:
    def __init__(
        self, model: StackedModel, optimizer: StackedAdamW, tokens: torch.Tensor, bos: int, compiled: bool = False
    ) -> None:
        self.model, self.optimizer, self.tokens, self.bos = model, optimizer, tokens, bos
        self._losses = torch.compile(model.losses, dynamic=True) if compiled else model.losses

    def __call__(
        self,
        start: torch.Tensor,
        length: torch.Tensor,
        longest: int,
        rates: torch.Tensor,
        active: torch.Tensor,
    ) -> torch.Tensor:
        inputs, targets = cut_windows(self.tokens, start, length, longest, self.bos)
        losses = self._losses(inputs, targets)
        self.model.weights.differentiate(losses)
        self.optimizer.step(rates, active)
        return losses.detach()


class GraphedStep:
    """Records a step for each length that comes, and plays it again. CUDA only."""

    def __init__(self, step: Step, longest: int) -> None:
        """`longest`: the most tokens that a window can have."""
        self.step, self.longest = step, longest
        self._inputs: list[torch.Tensor] = []
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}

    def __call__(
        self,
        start: torch.Tensor,
        length: torch.Tensor,
        longest: int,
        rates: torch.Tensor,
        active: torch.Tensor,
    ) -> torch.Tensor:
        given = [start, length, rates, active]
        if not self._inputs:
            self._inputs = [torch.empty_like(tensor) for tensor in given]
        for own, tensor in zip(self._inputs, given, strict=True):
            own.copy_(tensor)
        rounded = round_up(longest, self.longest)
        if rounded not in self._graphs:
            self._graphs[rounded] = self._record(rounded)
            self._inputs[3].copy_(active)
        graph, losses = self._graphs[rounded]
        graph.replay()
        return losses.clone()

    def _record(self, longest: int) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        start, length, rates, active = self._inputs
        active.zero_()  # members that are not active do not move, so trying a step changes nothing
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self.step(start, length, longest, rates, active)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        pool = next((other.pool() for other, _ in self._graphs.values()), None)  # graphs never run at the same time
        with torch.cuda.graph(graph, pool=pool):
            losses = self.step(start, length, longest, rates, active)
        return graph, losses


def round_up(length: int, longest: int) -> int:
    """The next length on a grid that gets coarser with length; 76 values up to 128 tokens, 173 up to 1,024."""
    spacing = max(1, length // GRID)
    return min(longest, -(-length // spacing) * spacing)
