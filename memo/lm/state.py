"""What changes in a training from step to step: all that a checkpoint has to hold.

    state = State(split, model, optimizer, device, steps, evaluations, texts)
    counts, tensors = state.counts(), state.copies()        later, in another process:
    state.load(counts, tensors)                             all of it, or none and `DamagedError`

The order of an epoch is no part of it: it comes from a named stream, so the epoch's number stands for it. The learning
rate follows from the step.

Shapes: S steps of the whole training, E evaluations, D documents and evaluation texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from memo.errors import DamagedError
from memo.lm.device import Device

COUNTS = ("epoch", "batch", "step", "evaluated", "tokens", "positions")


class State:
    """A model under training, where its training stands, and what was measured so far."""

    def __init__(
        self,
        split: int,
        model: PreTrainedModel,
        optimizer: torch.optim.AdamW,
        device: Device,
        steps: int,
        evaluations: int,
        texts: int,
    ) -> None:
        self.split, self.model, self.optimizer, self.device = split, model, optimizer, device
        self.epoch = 1  # under way; when all is done, one more than there are
        self.batch = 0  # batches of this epoch that are done
        self.step = 0  # batches of all epochs that are done
        self.evaluated = 0  # evaluations that are done
        self.tokens = 0  # targets trained on
        self.positions = 0  # positions computed in training, padding included
        self.losses = torch.zeros(steps, device=device.torch_device)  # (S,) mean nats per token of each batch
        self.loss = torch.zeros(evaluations, texts)  # (E, D) mean nats per token
        self.n_correct = torch.zeros(evaluations, texts)  # (E, D)

    @property
    def who(self) -> dict[str, int]:
        """For events."""
        return {"split": self.split}

    def add_step(self, loss: torch.Tensor, tokens: int, positions: int) -> None:
        self.losses[self.step] = loss
        self.step += 1
        self.batch += 1
        self.tokens += tokens
        self.positions += positions

    def add_evaluation(self, loss: np.ndarray, n_correct: np.ndarray) -> None:
        self.loss[self.evaluated] = torch.from_numpy(loss)
        self.n_correct[self.evaluated] = torch.from_numpy(n_correct)
        self.evaluated += 1

    def next_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}

    def copies(self) -> dict[str, torch.Tensor]:
        """All tensors on the CPU, sharing no memory: what safetensors can write."""
        return {name: cpu_copy(tensor) for name, tensor in {**self._live(), **self._random()}.items()}

    def load(self, counts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Puts a saved state back. Raises `DamagedError`, and changes nothing, where it is not one of this training."""
        live = self._live()
        refuse_other_counts(counts, COUNTS)
        refuse_other_tensors({**live, **self._random()}, tensors)
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.kind == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device.torch_device)
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(tensors[name])  # into memory as torch aligns it, on which the last bit can depend
        for name in COUNTS:
            setattr(self, name, counts[name])

    def _live(self) -> dict[str, torch.Tensor]:
        """The tensors themselves. Tied weights stand once; buffers that no file of a model holds are among them."""
        tensors = {"losses": self.losses, "loss": self.loss, "n_correct": self.n_correct}
        tensors |= {f"buffer/{name}": buffer for name, buffer in self.model.named_buffers()}
        for name, parameter in self.model.named_parameters():
            tensors[f"weight/{name}"] = parameter
            if parameter.requires_grad:
                tensors |= {f"{key}/{name}": moment for key, moment in self._moments(parameter).items()}
        return tensors

    def _moments(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """AdamW's own. It makes them at a parameter's first gradient; before, they are made here, as it would."""
        moments: dict[str, torch.Tensor] = self.optimizer.state[parameter]
        if not moments:
            moments["step"] = torch.zeros((), device=parameter.device)  # there, because the optimizer is fused
            for key in ("exp_avg", "exp_avg_sq"):
                moments[key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return moments

    def _random(self) -> dict[str, torch.Tensor]:
        """States of the generators that dropout draws from."""
        states = {"random/cpu": torch.get_rng_state()}
        if self.device.kind == "cuda":
            states["random/cuda"] = torch.cuda.get_rng_state(self.device.torch_device)
        return states


def cpu_copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def refuse_other_counts(counts: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if not isinstance(counts.get(name), int):
            raise DamagedError(f"expected a whole number as its {name}, found {counts.get(name)!r}")


def refuse_other_tensors(wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        expected, got = _described(wanted.get(name)), _described(found.get(name))
        if expected != got:
            raise DamagedError(f"expected {expected} as its tensor {name}, found {got}")


def _described(tensor: torch.Tensor | None) -> str:
    return "none" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
