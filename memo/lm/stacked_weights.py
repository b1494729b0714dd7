"""The weights of E models of one architecture in one tensor, and in views of it that have the models' shapes.

    layout = Layout(model)
    weights = Weights(layout, len(splits), device)
    weights.put(member, model)                          copies a model's weights in
    weights.parameters["transformer.wte.weight"]        (E, V, H), to be differentiated
    weights.differentiate(losses)                       gradients into `weights.gradient` (E, P')

A member is a row, so norms, rates and masks of members are operations along rows, whatever the number of parameters. In
a row first comes what decays, then what does not, then what is not trained, each parameter aligned as torch aligns
memory. Weight decay is decided on the model, because a stacked bias looks like a matrix.

Shapes: E members, P numbers of a model (P' of them trained, P'' of those decaying), gaps included.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

ALIGNMENT = 64  # numbers, 256 bytes


@dataclass(frozen=True)
class Slot:
    """Where a parameter lies in a row."""

    shape: torch.Size
    begin: int

    @property
    def end(self) -> int:
        return self.begin + self.shape.numel()


class Layout:
    """Which number of a row is which weight of the model."""

    def __init__(self, model: nn.Module) -> None:
        named = dict(model.named_parameters())  # tied weights stand once
        trained = [name for name, parameter in named.items() if parameter.requires_grad]
        self.slots: dict[str, Slot] = {}
        self.decayed = self._place(named, [name for name in trained if named[name].ndim >= 2], 0)  # P''
        self.trained = self._place(named, [name for name in trained if named[name].ndim < 2], self.decayed)  # P'
        self.size = self._place(named, [name for name in named if name not in self.slots], self.trained)  # P

    def _place(self, named: dict[str, nn.Parameter], names: list[str], begin: int) -> int:
        for name in names:
            self.slots[name] = Slot(named[name].shape, begin)
            begin = -(-self.slots[name].end // ALIGNMENT) * ALIGNMENT
        return begin


class Weights:
    """Float32 weights and gradients of all members."""

    def __init__(self, layout: Layout, members: int, device: torch.device) -> None:
        self.layout = layout
        self.values = torch.zeros(members, layout.size, device=device)  # (E, P)
        self.gradient = torch.zeros(members, layout.trained, device=device)  # (E, P')
        self.parameters = {name: self._view(self.values, slot).detach() for name, slot in layout.slots.items()}
        trained = {name: slot for name, slot in layout.slots.items() if slot.end <= layout.trained}
        self._leaves = [self.parameters[name].requires_grad_() for name in trained]
        self._gradients = [self._view(self.gradient, slot) for slot in trained.values()]

    def _view(self, rows: torch.Tensor, slot: Slot) -> torch.Tensor:
        return rows[:, slot.begin : slot.end].view(len(rows), *slot.shape)

    def differentiate(self, losses: torch.Tensor) -> None:
        """Puts each member's gradient of its own loss, of (E,), into its row."""
        found = torch.autograd.grad(losses.sum(), self._leaves, allow_unused=True)
        for row, gradient in zip(self._gradients, found, strict=True):
            if gradient is not None:  # a weight that nothing uses keeps its zero
                row.copy_(gradient)

    @torch.no_grad()
    def put(self, member: int, model: PreTrainedModel) -> None:
        for name, parameter in model.named_parameters():
            self.parameters[name][member].copy_(parameter)

    @torch.no_grad()
    def take(self, member: int, model: PreTrainedModel) -> None:
        """Copies a member's weights out into a model."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.parameters[name][member])
