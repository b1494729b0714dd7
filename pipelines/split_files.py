"""What the training of a split reads and writes in a campaign directory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from memo import seeding
from memo.errors import DivergedError
from memo.store import publishing, read_parquet, verified
from memo.version import full_version

if TYPE_CHECKING:
    import numpy as np

    from memo.lm.device import Device
    from memo.lm.train import Setup, SplitResult
    from pipelines.workspace import Workspace

CHOSEN_TOKENS = 4_000_000  # 16 MB a split


def documents_of(workspace: "Workspace", split: int) -> Any:
    """Columns of the texts that the split trains on: (n,); a document or a canary stands as often as it has copies."""
    import numpy as np

    from memo.sets import read_copied
    from memo.splits import read_bits, read_copies

    block, row = divmod(split, workspace.config.design.block_size)
    path = workspace.layout.block(block)
    verified(path)
    controls = read_parquet(workspace.layout.controls, columns=["column", "copies"])
    copies = np.where(read_bits(path, "controls")[row], controls["copies"].to_numpy(), 0)
    canaries = np.repeat(controls["column"].to_numpy(), copies)
    times = read_bits(path, "included")[row].astype(np.int64)
    if workspace.config.design.copies is not None:
        verified(workspace.layout.copied)
        times[read_copied(workspace.layout.copied)] = read_copies(path)[row]
    return np.concatenate([np.repeat(np.arange(len(times)), times), canaries])


def kept_texts(workspace: "Workspace", n_tokens: "np.ndarray") -> "np.ndarray | None":
    """Columns of the texts whose single tokens' losses are kept: (K,), rising; None for none. n_tokens: (D,).

    Where not all fit: evaluation texts and controls, then documents in a random order that depends on the seed alone,
    so that every split keeps the same.
    """
    import numpy as np
    import pyarrow.parquet as pq

    wanted = workspace.config.training.keep_token_losses
    if wanted == "none":
        return None
    if wanted == "all" or n_tokens.sum() <= CHOSEN_TOKENS:
        return np.arange(len(n_tokens))
    documents = pq.read_metadata(workspace.layout.documents).num_rows
    drawn = seeding.generator("token losses", seed=workspace.config.seed).permutation(documents)
    order = np.concatenate([np.arange(documents, len(n_tokens)), drawn])
    return np.sort(order[np.cumsum(n_tokens[order]) <= CHOSEN_TOKENS])


def publish(
    workspace: "Workspace",
    results: "Mapping[int, SplitResult | DivergedError]",
    setup: "Setup",
    device: "Device",
    stacked: bool,
) -> None:
    """The files of splits that were trained together. Their losses come last, because with them a split is done."""
    trained = {split: result for split, result in results.items() if not isinstance(result, DivergedError)}
    missing = [split for split in results if not workspace.split_done(split)]
    for split in missing:
        if split in trained:
            _publish_extras(workspace, split, trained[split], setup)
    stack = {"stack": list(results)} if stacked else {}
    for split in missing:
        result = results[split]
        if isinstance(result, DivergedError):
            _publish_diverged(workspace, split, result, device, stack)
        else:
            _publish_losses(workspace, split, result, device, stack)


def _publish_extras(workspace: "Workspace", split: int, result: "SplitResult", setup: "Setup") -> None:
    """Weights and losses of single tokens, where they are wanted."""
    from safetensors.numpy import save

    from memo.lm.weights import save_weights
    from memo.splits import metadata

    layout, inputs = workspace.layout, workspace.loss_inputs(split)
    if workspace.config.training.keep_weights:
        with publishing(layout.weights(split), inputs) as folder:
            save_weights(result.model, layout.tokenizer, folder)
    if result.token_loss is not None and setup.kept is not None:
        tensors = {"nll": result.token_loss, "text": setup.kept}
        with publishing(layout.token_losses(split), inputs) as path:
            path.write_bytes(save(tensors, metadata=metadata({"split": split})))


def _publish_losses(
    workspace: "Workspace", split: int, result: "SplitResult", device: "Device", stack: dict[str, Any]
) -> None:
    notes = {
        "steps": result.steps,
        "trained_tokens": result.trained_tokens,
        "padding_share": round(result.padding_share, 4),
        "seconds": round(result.seconds, 3),
        **({"token_losses": True} if result.token_loss is not None else {}),
        **stack,
    }
    _write_losses(workspace, split, {"loss": result.loss, "n_correct": result.n_correct}, notes, device)


def _publish_diverged(
    workspace: "Workspace", split: int, error: DivergedError, device: "Device", stack: dict[str, Any]
) -> None:
    """No evaluation of a model that diverged counts, the early ones neither: they are of a training that is no good."""
    import numpy as np
    from safetensors import safe_open

    with safe_open(workspace.layout.tokens, framework="numpy") as file:
        texts = file.get_slice("offsets").get_shape()[0] - 1
    nothing = np.full((len(workspace.config.training.evaluations), texts), np.nan, dtype=np.float32)
    where = {"diverged": {"epoch": error.epoch, "step": error.step, "message": str(error)}}
    _write_losses(workspace, split, {"loss": nothing, "n_correct": nothing}, {**where, **stack}, device)


def _write_losses(
    workspace: "Workspace", split: int, tensors: "dict[str, Any]", notes: dict[str, Any], device: "Device"
) -> None:
    from safetensors.numpy import save

    from memo.lm.device import describe
    from memo.splits import metadata

    content = {"split": split, "epochs": workspace.config.training.evaluations}
    notes = {"memo": full_version(), "machine": describe(device), **notes}
    with publishing(workspace.layout.losses(split), workspace.loss_inputs(split), notes) as path:
        # Not `save_file`: where a disk is full it raises an error of its own without the number that says so.
        path.write_bytes(save(tensors, metadata=metadata(content)))
