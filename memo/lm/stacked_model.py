"""E models of one architecture as one: the forward pass of all in one series of kernels.

    model = StackedModel(new_model(setup, first), members=64, device=device)
    model.weights.put(member, new_model(setup, split))
    losses = model.losses(inputs, targets)                          (E,) mean nats of (E, B, T)
    nll, correct = model.token_losses(inputs, targets)              (E, B*T) of windows (B, T) that all members see

The stack axis is added by `torch.vmap` over `torch.func.functional_call`, with autograd outside. The model is any that
`memo.lm.stackable` lets pass. Training is under autocast like that of `train_split`; the weights of linear layers are
cast once per step, because vmap hides from autocast that they are weights. What is not cast there is not cast here.

Shapes: E members, B windows, T tokens, H width, V vocabulary, N tokens of the corpus.
"""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from memo.lm import stacked_readout
from memo.lm.batches import IGNORED
from memo.lm.device import Device
from memo.lm.readout import Readout
from memo.lm.stacked_attention import use_folded_attention
from memo.lm.stacked_weights import Layout, Weights


class StackedModel:
    """Weights of all members and one skeleton that gives them a shape. `skeleton` is used up."""

    def __init__(self, skeleton: PreTrainedModel, members: int, device: Device) -> None:
        self.device, self.members = device, members
        readout = Readout(skeleton)
        use_folded_attention(skeleton)
        skeleton.config.pad_token_id = None  # or the forward pass looks for it among the inputs, to warn
        self.skeleton = skeleton.to(device.torch_device).train()
        self.weights = Weights(Layout(skeleton), members, device.torch_device)
        self._body = readout.body
        self._body_names = _names_inside(skeleton, readout.body)
        self._head, self._bias = _head_names(skeleton, readout.head)
        cast = device.precision != "float32"
        self._cast = _linear_names(skeleton, self._body) if cast else frozenset()

    def losses(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean nats of each member's own windows (E, B, T): (E,), to be differentiated."""
        dtype = self.device.compute_dtype
        with torch.autocast(self.device.kind, dtype, enabled=self.device.precision != "float32"):
            features = self._features(inputs)
        return stacked_readout.mean_losses(features, *self._readout(), targets.flatten(1), dtype)

    @torch.no_grad()
    def token_losses(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nats and rightness (E, B*T) of the same windows (B, T) under all members, in float32."""
        self.skeleton.eval()
        features = self._features(inputs, cast=frozenset())
        self.skeleton.train()
        return stacked_readout.token_losses(features, *self._readout(), targets.flatten())

    @property
    def head_shape(self) -> torch.Size | None:
        """(V, H) of the output layer, where there is a layer to cut off."""
        return self.weights.layout.slots[self._head].shape if self._head else None

    @property
    def cast_bytes(self) -> int:
        """Of a member's weights in the precision of training."""
        slots = self.weights.layout.slots
        return sum(slots[name].shape.numel() for name in self._cast) * self.device.compute_dtype.itemsize

    def export(self, member: int, model: PreTrainedModel) -> PreTrainedModel:
        """A member as a model of its own, in `model`."""
        self.weights.take(member, model)
        return model.eval()

    def _features(self, inputs: torch.Tensor, cast: frozenset[str] | None = None) -> torch.Tensor:
        """Input ids (E, B, T), or (B, T) for all, to features (E, B*T, H), or logits where the model cannot be cut."""
        cast = self._cast if cast is None else cast
        parameters = {
            inside: tensor.to(self.device.compute_dtype) if name in cast else tensor
            for inside, name in self._body_names.items()
            for tensor in (self.weights.parameters[name],)
        }
        in_dims = (0, 0 if inputs.ndim == 3 else None)
        features: torch.Tensor = torch.vmap(self._run, in_dims=in_dims)(parameters, inputs)  # (E, B, T, H)
        return features.flatten(1, 2)

    def _run(self, parameters: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        output: Any = functional_call(self._body, parameters, kwargs={"input_ids": inputs, "use_cache": False})
        return output.logits if self._head is None else output.last_hidden_state

    def _readout(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Weight (E, V, H) and bias (E, V) of the output layer, where it is one."""
        parameters = self.weights.parameters
        return parameters[self._head] if self._head else None, parameters[self._bias] if self._bias else None


def cut_windows(
    tokens: torch.Tensor, start: torch.Tensor, length: torch.Tensor, longest: int, bos: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `collate` does, on the device and for any number of windows: (..., T) inputs and targets.

    `start` and `length` (...) say where windows lie in `tokens` (N,); a window of length 0 is all padding.
    """
    position = torch.arange(longest, device=tokens.device)  # (T,)
    inside = position < length.unsqueeze(-1)
    found = tokens[torch.where(inside, start.unsqueeze(-1) + position, 0)].long()
    targets = torch.where(inside, found, IGNORED)
    inputs = torch.where(inside, found, bos).roll(1, dims=-1)
    inputs[..., 0] = bos
    return inputs, targets


def _names_inside(model: nn.Module, body: nn.Module) -> dict[str, str]:
    """Name in the body -> name in the model, of each parameter that the body has."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {inside: names[id(parameter)] for inside, parameter in body.named_parameters()}


def _head_names(model: nn.Module, head: nn.Linear | None) -> tuple[str | None, str | None]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    if head is None:
        return None, None
    return names[id(head.weight)], None if head.bias is None else names[id(head.bias)]


def _linear_names(model: nn.Module, body: nn.Module) -> frozenset[str]:
    """Parameters that autocast would cast at their only use: those of linear layers of the body, and no embedding."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    layers = [layer for layer in body.modules() if isinstance(layer, nn.Linear | Conv1D)]
    embeddings = {id(layer.weight) for layer in body.modules() if isinstance(layer, nn.Embedding)}
    found = [parameter for layer in layers for parameter in layer.parameters()]
    return frozenset(names[id(parameter)] for parameter in found if id(parameter) not in embeddings)
