"""A causal LM cut in two before its output layer, so that logits exist only a chunk at a time.

    readout = Readout(model)
    features = readout.features(inputs)                        # (B, T, H)
    loss = readout.mean_loss(rows, targets, torch.float32)     # rows (n, H) of them, targets (n,)
    nll, correct = readout.token_losses(rows, targets)

All logits of a batch at once are the largest thing in memory (B x T x V) and, on a CPU, a tenth of the time goes into
fetching fresh memory for them. Padding costs no logits at all. Where a model does more between its body and its logits
than one linear layer (soft-capping, scaling), the cut is found not to hold, and its own logits are used whole.

Shapes: B windows, T tokens, H width, V vocabulary, n tokens that count.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from memo.lm.model import probe_tokens

CHUNK_LOGITS = {"cpu": 1 << 18, "cuda": 1 << 26}  # a chunk fits the core's cache; on a GPU, 256 MiB
SMALLEST_CHUNK = 128  # tokens: below, the matrix products become slow


class Readout:
    """What to run for features, and how to get from features to logits and losses."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.body, self.head = _cut(model)
        self._bare = self.head is not None and getattr(self.head, "bias", None) is None
        vocab_size = int(model.config.vocab_size)
        kind = next(model.parameters()).device.type
        self.chunk = max(SMALLEST_CHUNK, CHUNK_LOGITS.get(kind, CHUNK_LOGITS["cpu"]) // vocab_size)

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Input ids (B, T) to features (B, T, H); the logits (B, T, V) themselves where the model cannot be cut."""
        if self.head is None:
            return self.model(input_ids=inputs, use_cache=False).logits
        return self.body(input_ids=inputs, use_cache=False).last_hidden_state

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return features if self.head is None else self.head(features)

    def mean_loss(self, features: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Mean negative log-likelihood of the targets (n,) in nats, to be differentiated."""
        if self.head is None or not self._bare:
            logits = self.logits(features.float())
            return F.cross_entropy(logits.float(), targets)
        arguments = features, self.head.weight, targets, self.chunk, dtype
        total: torch.Tensor = LinearCrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]
        return total / len(targets)

    def token_losses(self, features: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Per token (n,): negative log-likelihood in nats, and whether the target has the largest logit."""
        nll, correct = [], []
        for rows, wanted in zip(torch.split(features, self.chunk), torch.split(targets, self.chunk), strict=True):
            logits = self.logits(rows).float()
            nll.append(F.cross_entropy(logits, wanted, reduction="none"))
            correct.append(logits.argmax(dim=1) == wanted)
        return torch.cat(nll), torch.cat(correct)


def _cut(model: Any) -> tuple[Any, nn.Linear | None]:
    """The model's body and its output layer, if together they are the model; checked on a few tokens.

    What the layer gives is blown up for the check: soft-capping does not show in the small logits of a new model.
    """
    body, head = getattr(model, "base_model", model), model.get_output_embeddings()
    if body is model or not isinstance(head, nn.Linear):
        return model, None
    seen: list[torch.Tensor] = []

    def blow_up(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        seen.extend((inputs[0], output * 1e4))
        return seen[-1]

    was_training = model.training
    model.eval()
    probe = probe_tokens(model, 2).to(head.weight.device)
    hook = head.register_forward_hook(blow_up)
    with torch.no_grad():
        logits = model(input_ids=probe, use_cache=False).logits
        hook.remove()
        features = getattr(body(input_ids=probe, use_cache=False), "last_hidden_state", None)
    model.train(was_training)
    same = features is not None and len(seen) == 2 and _equal(features, seen[0]) and _equal(logits, seen[1])
    return (body, head) if same else (model, None)


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and torch.allclose(first, second, rtol=1e-5, atol=1e-6)


class LinearCrossEntropy(torch.autograd.Function):
    """Summed cross entropy of `features @ weight.T`, chunk by chunk, with the gradient taken on the way.

    The gradient of the logits is softmax - one-hot; multiplied out at once, only its products have to be kept. The idea
    is Liger's fused linear cross entropy (arXiv 2410.10989), here without a kernel of its own.
    """

    @staticmethod
    def forward(
        ctx: Any, features: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int, dtype: torch.dtype
    ) -> torch.Tensor:
        cast = weight.to(dtype)  # (V, H)
        grad_features, grad_weight = torch.empty_like(features), torch.zeros_like(weight)
        total = torch.zeros((), device=weight.device)
        pieces = (torch.split(tensor, chunk) for tensor in (features.to(dtype), targets, grad_features))
        for rows, wanted, grad_rows in zip(*pieces, strict=True):
            logits = (rows @ cast.T).float()  # (chunk, V)
            column = wanted.unsqueeze(1)
            target_logit, top_logit = logits.gather(1, column), logits.amax(1, keepdim=True)
            softmax = torch.softmax(logits, 1)
            # log of the sum of exponentials = top logit - log(top probability): exact where the target's underflows
            total += (top_logit - softmax.amax(1, keepdim=True).log() - target_logit).sum()
            grad_logits = softmax.scatter_(1, column, softmax.gather(1, column) - 1).to(dtype)
            grad_rows.copy_(grad_logits @ cast)
            grad_weight += grad_logits.T @ rows
        ctx.save_for_backward(grad_features, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_features, grad_weight = ctx.saved_tensors
        return grad_features * grad, grad_weight * grad, None, None, None
