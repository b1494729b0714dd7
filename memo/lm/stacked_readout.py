"""Logits and losses of a stack, a chunk of tokens at a time.

The same cut and the same arithmetic as in `memo.lm.readout`, with one matrix product for all members.

Shapes: E members, n tokens of each, padding included, H width, V vocabulary, c tokens of a chunk.
"""

from typing import Any

import torch
import torch.nn.functional as F

from memo.lm.batches import IGNORED
from memo.lm.readout import CHUNK_LOGITS

SMALLEST_CHUNK = 64  # tokens of each member


def chunk_tokens(members: int, vocab_size: int, kind: str) -> int:
    return max(SMALLEST_CHUNK, CHUNK_LOGITS.get(kind, CHUNK_LOGITS["cpu"]) // (vocab_size * members))


def mean_losses(
    features: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Mean nats of each member's targets: (E,), to be differentiated. Zero for a member that has none.

    `features` (E, n, H) with `weight` (E, V, H), or, without a weight, the logits themselves; `targets` (E, n).
    """
    share = _shares(targets)  # (E, n)
    wanted = targets.clamp(min=0)
    if weight is not None and bias is None:
        chunk = chunk_tokens(len(weight), weight.shape[1], weight.device.type)
        return StackedCrossEntropy.apply(features, weight, wanted, share, chunk, dtype)  # type: ignore[no-untyped-call]
    logits = _logits(features.float(), weight, bias).float()
    nll = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(targets)
    return (nll * share).sum(1)


def token_losses(
    features: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Nats of every target (n,) under every member, and whether it has the largest logit: (E, n) each, 0 on padding."""
    members, vocab_size = len(features), features.shape[2] if weight is None else weight.shape[1]
    chunk = chunk_tokens(members, vocab_size, features.device.type)
    nll, correct = [], []
    for rows, wanted in zip(torch.split(features, chunk, dim=1), torch.split(targets, chunk), strict=True):
        logits = _logits(rows, weight, bias).float()  # (E, c, V)
        column = wanted.clamp(min=0).expand(members, -1)  # (E, c)
        losses = F.cross_entropy(logits.flatten(0, 1), column.flatten(), reduction="none").view_as(column)
        nll.append(torch.where(wanted == IGNORED, 0.0, losses))
        correct.append(logits.argmax(dim=2) == wanted)
    return torch.cat(nll, dim=1), torch.cat(correct, dim=1)


def _logits(features: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    if weight is None:
        return features
    if bias is None:
        return torch.bmm(features, weight.transpose(1, 2))
    return torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2))


def _shares(targets: torch.Tensor) -> torch.Tensor:
    """What each target weighs in its member's mean: (E, n), adding up to one where there is any."""
    counts = (targets != IGNORED).float()
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


class StackedCrossEntropy(torch.autograd.Function):
    """Weighted cross entropy of each member, with the gradient taken on the way: see `LinearCrossEntropy`."""

    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        share: torch.Tensor,
        chunk: int,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        cast = weight.to(dtype)  # (E, V, H)
        grad_features = torch.empty_like(features)
        grad_weight = torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device)
        total = torch.zeros(len(weight), device=weight.device)  # (E,)
        pieces = (torch.split(part, chunk, dim=1) for part in (features.to(dtype), targets, share, grad_features))
        for rows, wanted, part, grad_rows in zip(*pieces, strict=True):
            logits = torch.bmm(rows, cast.transpose(1, 2)).float()  # (E, c, V)
            column = wanted.unsqueeze(2)
            target_logit, top_logit = logits.gather(2, column), logits.amax(2, keepdim=True)
            softmax = torch.softmax(logits, 2)
            nll = top_logit - softmax.amax(2, keepdim=True).log() - target_logit  # (E, c, 1)
            total += (nll.squeeze(2) * part).sum(1)
            softmax.scatter_(2, column, softmax.gather(2, column) - 1)
            grad_logits = softmax.mul_(part.unsqueeze(2)).to(dtype)
            grad_rows.copy_(torch.bmm(grad_logits, cast))
            if dtype == weight.dtype:
                grad_weight.baddbmm_(grad_logits.transpose(1, 2), rows)
            else:
                grad_weight += torch.bmm(grad_logits.transpose(1, 2), rows)
        ctx.save_for_backward(grad_features, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_features, grad_weight = ctx.saved_tensors
        member = grad.view(-1, 1, 1)
        return grad_features * member, grad_weight * member, None, None, None, None
