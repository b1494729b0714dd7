"""Where the training of a stack stands: what a checkpoint of it has to hold.

    state = StackState(splits, model, optimizer, steps, evaluations, texts)
    counts, tensors = state.counts(), state.copies()        later, in another process:
    state.load(counts, tensors)                             all of it, or none and `DamagedError`

The same contract as `memo.lm.state.State`, so `Checkpoints` takes both. All members are in one file: they take their
steps together, and another membership is another training.

Shapes: E members, S steps of the member that has most, P numbers of a model (P' trained), V evaluations, D documents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from memo.errors import DamagedError, DivergedError
from memo.lm.stacked_model import StackedModel
from memo.lm.stacked_optimizer import StackedAdamW
from memo.lm.state import cpu_copy, refuse_other_counts, refuse_other_tensors

COUNTS = ("epoch", "batch", "step", "evaluated")


class StackState:
    def __init__(
        self,
        splits: Sequence[int],
        model: StackedModel,
        optimizer: StackedAdamW,
        steps: int,
        evaluations: int,
        texts: int,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        members = len(splits)
        self.splits = torch.tensor(splits)  # (E,)
        self.epoch = 1  # under way; when all is done, one more than there are
        self.batch = 0  # steps of this epoch that are done
        self.step = 0  # of all epochs
        self.evaluated = 0
        self.losses = torch.zeros(steps, members, device=model.device.torch_device)  # (S, E) nats; 0 where idle
        self.loss = torch.zeros(members, evaluations, texts)  # (E, V, D) mean nats per token
        self.n_correct = torch.zeros(members, evaluations, texts)
        self.tokens = torch.zeros(members, dtype=torch.int64)  # (E,) targets trained on
        self.positions = torch.zeros(members, dtype=torch.int64)  # (E,) computed for members that moved
        self.broken = torch.zeros(members, 3, dtype=torch.float64)  # epoch (0: not broken), its step (-1: none), loss

    @property
    def who(self) -> dict[str, list[int]]:
        """For events."""
        return {"splits": self.splits.tolist()}

    @property
    def sound(self) -> np.ndarray:
        """Members that did not diverge: (E,) bool."""
        return (self.broken[:, 0] == 0).numpy()

    def add_step(self, losses: torch.Tensor, tokens: np.ndarray, positions: np.ndarray) -> None:
        """Of (E,) each, 0 where a member was idle. Losses stay on the device."""
        self.losses[self.step] = losses
        self.tokens += torch.from_numpy(tokens)
        self.positions += torch.from_numpy(positions)
        self.step += 1
        self.batch += 1

    def add_evaluation(self, loss: np.ndarray, n_correct: np.ndarray) -> None:
        self.loss[:, self.evaluated] = torch.from_numpy(loss)
        self.n_correct[:, self.evaluated] = torch.from_numpy(n_correct)
        self.evaluated += 1

    def next_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0

    def fail(self, member: int, epoch: int, step: int | None, loss: float) -> None:
        self.broken[member] = torch.tensor([epoch, -1 if step is None else step, loss], dtype=torch.float64)

    def error(self, member: int) -> DivergedError | None:
        """How this member diverged, if it did."""
        epoch, step, loss = self.broken[member].tolist()
        if epoch == 0:
            return None
        return DivergedError(int(self.splits[member]), int(epoch), None if step < 0 else int(step), loss)

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}

    def copies(self) -> dict[str, torch.Tensor]:
        return {name: cpu_copy(tensor) for name, tensor in self._live().items()}

    def load(self, counts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        live = self._live()
        refuse_other_counts(counts, COUNTS)
        refuse_other_tensors(live, tensors)
        if not torch.equal(tensors["splits"], self.splits):
            raise DamagedError(f"expected a stack of splits {self.splits.tolist()}, found {tensors['splits'].tolist()}")
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(tensors[name])
        for name in COUNTS:
            setattr(self, name, counts[name])

    def _live(self) -> dict[str, torch.Tensor]:
        own = ("splits", "losses", "loss", "n_correct", "tokens", "positions", "broken")
        return {name: getattr(self, name) for name in own} | {
            "weights": self.model.weights.values,
            "exp_avg": self.optimizer.exp_avg,
            "exp_avg_sq": self.optimizer.exp_avg_sq,
            "steps": self.optimizer.steps,
        }
