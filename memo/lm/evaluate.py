"""The loss of every document under a model, each document alone.

    loss, n_correct = document_losses(model, tokens, offsets, context_tokens, bos, device)

Windows are sorted by length and batched by their number of tokens, so that there is next to no padding; what else is in
a batch changes a document's loss by rounding only. Always in float32; a document's sum is taken in float64 and in the
order of its tokens.

Shapes: N tokens, D documents, B windows in a batch, T tokens in the batch's longest window, n tokens in a batch.
"""

from collections.abc import Iterator

import numpy as np
import torch
from transformers import PreTrainedModel

from memo.lm.batches import collate, counted, windows
from memo.lm.device import Device
from memo.lm.readout import Readout

BATCH_TOKENS = {"cpu": 2048, "cuda": 1 << 16}  # a CPU is fastest while activations stay in its cache


def document_losses(
    model: PreTrainedModel,
    tokens: np.ndarray,
    offsets: np.ndarray,
    context_tokens: int,
    bos: int,
    device: Device,
    batch_tokens: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean nats per token and number of tokens predicted right, (D,) float32 each; NaN and 0 for an empty text."""
    return by_document(*token_losses(model, tokens, offsets, context_tokens, bos, device, batch_tokens), offsets)


def by_document(nll: np.ndarray, correct: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same from losses of single tokens, (N,) each, as `token_losses` gives them."""
    n_tokens = np.diff(offsets)
    full = n_tokens > 0
    loss = np.full(len(n_tokens), np.nan, np.float32)
    n_correct = np.zeros(len(n_tokens), np.float32)
    if full.any():
        # Documents without tokens take no room, so each segment ends where the next one that has any begins.
        starts = offsets[:-1][full] - offsets[0]
        loss[full] = np.add.reduceat(nll, starts, dtype=np.float64) / n_tokens[full]
        n_correct[full] = np.add.reduceat(correct, starts, dtype=np.int64)
    return loss, n_correct


def token_losses(
    model: PreTrainedModel,
    tokens: np.ndarray,
    offsets: np.ndarray,
    context_tokens: int,
    bos: int,
    device: Device,
    batch_tokens: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Nats of every token in its document, (N,) float32, and whether it was the most likely one, (N,) bool."""
    table = windows(offsets, context_tokens)
    nll = np.zeros(int(offsets[-1] - offsets[0]), np.float32)
    correct = np.zeros(len(nll), bool)
    readout = Readout(model)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for indices in batches_by_length(table.length, batch_tokens or BATCH_TOKENS[device.kind]):
            inputs, targets = collate(tokens, table, indices, bos)
            places, wanted = (part.to(device.torch_device) for part in counted(targets))
            features = readout.features(inputs.to(device.torch_device)).flatten(0, 1)[places]
            batch_nll, batch_correct = readout.token_losses(features, wanted)
            rows = _rows(table.start[indices] - offsets[0], table.length[indices])  # (n,), in the order of `places`
            nll[rows] = batch_nll.cpu().numpy()
            correct[rows] = batch_correct.cpu().numpy()
    model.train(was_training)
    return nll, correct


def tokens_of(offsets: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Positions of the tokens of these documents, (n,), document by document."""
    return _rows(offsets[documents] - offsets[0], np.diff(offsets)[documents])


def _rows(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Positions of the windows' tokens, window by window."""
    nth = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return np.repeat(start, length) + nth


def batches_by_length(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Windows from the longest to the shortest, as many as fit `batch_tokens` with their padding, at least one."""
    order = np.argsort(-lengths, kind="stable")
    begin = 0
    while begin < len(order):
        end = begin + max(1, batch_tokens // int(lengths[order[begin]]))
        yield order[begin:end]
        begin = end
