"""Attention computed in other ways than the model's own: what it may be asked, and the way for bfloat16 on a CPU.

    use_attention(model, NAME, function)            raises `OtherAttentionError` where that would change the model
    use_bfloat16_attention(model)                   for training in bfloat16 on a CPU; else the model stays as it is

torch's fused attention on a CPU converts bfloat16 back and forth element by element. Written out as two batched matrix
products around a softmax, with a backward of four more, it takes the units made for the purpose. Measured on one core
of a Zen 4 (AVX512-BF16), forward and backward of 16 windows of 128 tokens, milliseconds:

    heads x width            4 x 16      8 x 16      4 x 32      8 x 32
    fused, float32              5.1        10.6         8.2        16.6
    fused, bfloat16            19.7        38.6        20.8        41.9
    written out, bfloat16       3.4         7.3         4.3         8.7
    written out, float32        6.4        14.4         8.7        20.4

Shapes: B windows, H heads, T tokens, D width of a head.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedModel

from memo.errors import MemoError
from memo.lm.model import probe_tokens

BFLOAT16 = "memo_bfloat16"
# What models pass along that does not change causal attention over whole windows without a cache.
HARMLESS = frozenset({"position_ids", "cache_position", "past_key_values", "use_cache", "output_attentions"})
Inner = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float | None, bool], torch.Tensor]


class OtherAttentionError(MemoError):
    """The model's attention is more than a causal softmax over its window."""


def use_attention(model: PreTrainedModel, name: str, inner: Inner) -> None:
    """Exchanges the attention of a model for `inner(query, key, value, scale, grouped)`.

    It gets query (B, H, T, D), key and value (B, H or fewer, T, D), and gives (B, H, T, D). Raises
    `OtherAttentionError` where the model's attention is code of its own; what it asks for shows when it runs.
    """
    AttentionInterface.register(name, causal(inner))
    try:
        model.set_attn_implementation(name)
    except (ValueError, KeyError) as error:
        raise OtherAttentionError("its attention is code of its own") from error
    if model.config._attn_implementation != name:
        raise OtherAttentionError("its attention is code of its own")


def causal(inner: Inner) -> Callable[..., tuple[torch.Tensor, None]]:
    """A function as transformers calls it, which refuses whatever asks for more than causal attention."""

    def attention(
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
        if attention_mask is not None:
            raise OtherAttentionError("its attention has a mask of its own")
        if dropout:
            raise OtherAttentionError("its attention has dropout")
        if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
            raise OtherAttentionError("its attention is not causal")
        if query.shape[2] != key.shape[2]:
            raise OtherAttentionError("its attention sees more than the window")
        if sliding_window is not None and sliding_window < query.shape[2]:
            raise OtherAttentionError(f"its attention slides over {sliding_window} tokens")
        unknown = sorted(k for k, v in extras.items() if k not in HARMLESS and v is not None and v is not False)
        if unknown:
            raise OtherAttentionError(f"its attention takes {', '.join(unknown)}")
        output = inner(query, key, value, scaling, query.shape[1] != key.shape[1])
        return output.transpose(1, 2).contiguous(), None

    return attention


def use_bfloat16_attention(model: PreTrainedModel) -> None:
    """Makes training in bfloat16 on a CPU faster, where the model's attention is causal and no more."""
    before = model.config._attn_implementation
    try:
        use_attention(model, BFLOAT16, _bfloat16_or_fused)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            model(input_ids=probe_tokens(model, 2), use_cache=False)
    except OtherAttentionError:
        model.set_attn_implementation(before)


def _bfloat16_or_fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, grouped: bool
) -> torch.Tensor:
    """Losses are measured in float32, which the fused kernel is faster in."""
    if not torch.is_autocast_enabled("cpu"):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)
    if grouped:
        heads = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(heads, dim=1), value.repeat_interleave(heads, dim=1)
    flat = (part.to(torch.bfloat16).flatten(0, 1) for part in (query, key, value))  # (B*H, T, D)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    output: torch.Tensor = _WrittenOut.apply(*flat, scale)  # type: ignore[no-untyped-call]
    return output.view(query.shape)


class _WrittenOut(torch.autograd.Function):
    """Causal attention of query, key and value (B*H, T, D): softmax(scale * q k^T + mask) v."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        tokens = query.shape[1]
        mask = torch.full((tokens, tokens), -torch.inf, dtype=query.dtype).triu(1)
        weights = torch.softmax(torch.baddbmm(mask.expand(len(query), -1, -1), query, key.mT, alpha=scale), -1)
        ctx.save_for_backward(query, key, value, weights)
        ctx.scale = scale
        return torch.bmm(weights, value)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, weights = ctx.saved_tensors
        grad_weights = torch.bmm(grad, value.mT)
        # Of a softmax p with gradient g: p * (g - sum of p * g).
        grad_logits = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype) * ctx.scale
        return torch.bmm(grad_logits, key), torch.bmm(grad_logits.mT, query), torch.bmm(weights.mT, grad), None
