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
from transformers import AttentionInterface, PreTrainedModel

from memo.errors import MemoError

NAME = "memo_folded"
# What models pass along that does not change causal attention over whole windows without a cache.
HARMLESS = frozenset({"position_ids", "cache_position", "past_key_values", "use_cache", "output_attentions"})


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


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **extras: Any,
) -> tuple[torch.Tensor, None]:
    """The contract of transformers' attention functions: heads first in, tokens first out."""
    if attention_mask is not None:
        raise NotStackableError("its attention has a mask of its own")
    if dropout:
        raise NotStackableError("its attention has dropout")
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise NotStackableError("its attention is not causal")
    if query.shape[2] != key.shape[2]:
        raise NotStackableError("its attention sees more than the window")
    if sliding_window is not None and sliding_window < query.shape[2]:
        raise NotStackableError(f"its attention slides over {sliding_window} tokens")
    unknown = sorted(k for k, v in extras.items() if k not in HARMLESS and v is not None and v is not False)
    if unknown:
        raise NotStackableError(f"its attention takes {', '.join(unknown)}")
    output = _FoldedAttention.apply(query, key, value, scaling, query.shape[1] != key.shape[1])  # type: ignore[no-untyped-call]
    return output.transpose(1, 2).contiguous(), None


def use_folded_attention(model: PreTrainedModel) -> None:
    """Raises `NotStackableError` where the model's attention cannot be exchanged."""
    AttentionInterface.register(NAME, _attention)
    try:
        model.set_attn_implementation(NAME)
    except (ValueError, KeyError) as error:
        raise NotStackableError("its attention is code of its own") from error
    if model.config._attn_implementation != NAME:
        raise NotStackableError("its attention is code of its own")
