"""Causal attention of many models in one call of the fused kernel.

    use_folded_attention(model)              from now on the model runs under `torch.vmap`, and no longer alone

Fused attention has no batching rule for its backward: `torch.vmap` over it falls back to a loop over the models. Here
the stack axis is folded into the batch axis and the kernel is called once. Autograd stays outside vmap, so the backward
is the kernel's own. Whatever asks for more than causal softmax is refused by name; `memo.lm.stackable` asks first.

Shapes: E models, B windows, H heads, T tokens, D width of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from memo.errors import MemoError
from memo.lm.attention import use_attention

NAME = "memo_folded"


class NotStackableError(MemoError):
    """The model computes something that a stack would get wrong; it has to be trained alone."""


class _FoldedAttention(torch.autograd.Function):
    """Query (B, H, T, D), key and value (B, H or fewer, T, D); under vmap with E before them."""

    @staticmethod
    def forward(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, grouped: bool
    ) -> torch.Tensor:
        raise NotImplementedError("only for models in a stack")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        grouped: bool,
    ) -> tuple[torch.Tensor, int]:
        models = info.batch_size
        q, k, v = (
            (part.expand(models, *part.shape) if dim is None else part.movedim(dim, 0)).flatten(0, 1)  # (E*B, H, T, D)
            for part, dim in zip((query, key, value), in_dims, strict=False)
        )
        if grouped and q.is_cuda:  # in float32 no fused CUDA kernel shares keys among heads
            heads = q.shape[1] // k.shape[1]
            k, v, grouped = k.repeat_interleave(heads, dim=1), v.repeat_interleave(heads, dim=1), False
        output = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
        return output.view(models, -1, *output.shape[1:]), 0


def _folded(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, grouped: bool
) -> torch.Tensor:
    output: torch.Tensor = _FoldedAttention.apply(query, key, value, scale, grouped)  # type: ignore[no-untyped-call]
    return output


def use_folded_attention(model: PreTrainedModel) -> None:
    """Raises `OtherAttentionError` where the model's attention cannot be exchanged."""
    use_attention(model, NAME, _folded)
