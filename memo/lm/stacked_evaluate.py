"""The loss of every document under every member of a stack.

    loss, n_correct = stacked_document_losses(model, tokens, offsets, context_tokens, bos)   (E, D) each

Equal to `memo.lm.evaluate.document_losses` of each member alone but for rounding: float32, float64 sums, windows sorted
by length. All members see the same windows, so a batch is cut once. Sums are taken window by window on the device, and
nothing waits for it before the end.

Shapes: E members, D documents, W windows, B windows in a batch, T tokens of the longest.
"""

import numpy as np
import torch

from memo.lm.batches import Windows, windows
from memo.lm.evaluate import BATCH_TOKENS, batches_by_length
from memo.lm.stacked_model import StackedModel, cut_windows


def stacked_document_losses(
    model: StackedModel,
    tokens: torch.Tensor,
    offsets: np.ndarray,
    context_tokens: int,
    bos: int,
    batch_tokens: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean nats per token and number of tokens predicted right, (E, D) float32 each; NaN and 0 for an empty text.

    `tokens` (N,) on the device. `batch_tokens` counts each member's copy of a window.
    """
    table = windows(offsets, context_tokens)
    nll, right = _window_sums(model, tokens, table, bos, batch_tokens or BATCH_TOKENS[model.device.kind])
    n_tokens = np.diff(offsets)
    full = n_tokens > 0
    loss = np.full((model.members, len(n_tokens)), np.nan, np.float32)
    n_correct = np.zeros((model.members, len(n_tokens)), np.float32)
    if full.any():
        counts = -(-n_tokens // context_tokens)
        first = (np.cumsum(counts) - counts)[full]  # a document's windows are neighbours
        loss[:, full] = np.add.reduceat(nll, first, axis=1) / n_tokens[full]
        n_correct[:, full] = np.add.reduceat(right, first, axis=1)
    return loss, n_correct


def stacked_token_losses(
    model: StackedModel,
    tokens: torch.Tensor,
    offsets: np.ndarray,
    context_tokens: int,
    bos: int,
    documents: np.ndarray,
    batch_tokens: int | None = None,
) -> np.ndarray:
    """Nats of every token of these documents under each member, document by document: (E, n) float32."""
    table = windows(offsets, context_tokens, documents)
    ends = np.cumsum(table.length)
    nll = np.empty((model.members, int(ends[-1]) if len(ends) else 0), np.float32)
    most = max(1, (batch_tokens or BATCH_TOKENS[model.device.kind]) // model.members)
    for batch in batches_by_length(table.length, most):
        start, length = (torch.from_numpy(part[batch]).to(tokens.device) for part in (table.start, table.length))
        longest = int(table.length[batch].max())
        losses, _ = model.token_losses(*cut_windows(tokens, start, length, longest, bos))
        found = losses.view(model.members, len(batch), longest).cpu().numpy()
        for row, window in enumerate(batch):
            size = int(table.length[window])
            nll[:, ends[window] - size : ends[window]] = found[:, row, :size]
    return nll


def _window_sums(
    model: StackedModel, tokens: torch.Tensor, table: Windows, bos: int, batch_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nats and right tokens of each window under each member: (E, W) float64."""
    batches = list(batches_by_length(table.length, max(1, batch_tokens // model.members)))
    order = np.concatenate([*batches, np.empty(0, np.int64)]).astype(np.int64)
    start, length = (torch.from_numpy(part[order]).to(tokens.device) for part in (table.start, table.length))
    sums = torch.zeros(2, model.members, len(order), dtype=torch.float64, device=tokens.device)
    begin = 0
    for batch in batches:
        here = slice(begin, begin + len(batch))
        inputs, targets = cut_windows(tokens, start[here], length[here], int(table.length[batch].max()), bos)
        for row, found in zip(sums, model.token_losses(inputs, targets), strict=True):
            row[:, here] = found.view(-1, *inputs.shape).double().sum(2)
        begin = here.stop
    nll, right = np.empty((2, model.members, len(order)))
    nll[:, order], right[:, order] = sums.cpu().numpy()
    return nll, right
