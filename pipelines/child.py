"""The process that trains: started by a worker, lives as long as it, and exits when its pipe closes.

    python -P -m pipelines.child        JSON requests on standard input, JSON answers on standard output, a line each

Training has a process of its own because torch holds the interpreter's lock for long enough that a scheduler takes the
worker for dead, and because a crash in native code must not take the worker along. Imports are paid once.
"""

import errno
import json
import os
import queue
import sys
import threading
import traceback
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo.errors import DivergedError, MemoError, UsageError
from memo.processes import this_host
from pipelines.training_log import append

if TYPE_CHECKING:
    from memo.lm.checkpoint import Checkpoints
    from memo.lm.device import Device
    from memo.lm.train import Setup, SplitResult
    from pipelines.workspace import Workspace

MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def main() -> None:
    """Serves requests until standard input closes."""
    # Libraries print; answers get a descriptor of their own and everything else goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        request = requests.get()
        print(json.dumps(_answer(request)), file=answers, flush=True)


def _listen(requests: "queue.Queue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    # The worker is gone. Leaving in the middle of a split is safe: nothing is published half.
    os._exit(0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """The path of the losses, or an error and its kind; see `pipelines.worker` for the kinds."""
    try:
        who = {"attempt": request["attempt"], "worker": request["worker"]}
        return {"path": train(Path(request["root"]), request["split"], **who)}
    except UsageError as error:
        return {"error": str(error), "kind": "usage"}
    except MemoError as error:
        return {"error": str(error), "kind": "work"}
    except Exception as error:
        at_fault = isinstance(error, OSError) and error.errno in MACHINE_ERRORS
        return {"error": _told(error), "kind": "machine" if at_fault else "crash"}


def _told(error: Exception) -> str:
    if isinstance(error, MemoError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f' ({error.filename})' if error.filename else ''}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def train(root: Path, split: int, attempt: int = 1, worker: str = "") -> str:
    """Trains one split, unless it is done, and publishes its losses. Returns the path of the losses.

    A split that diverges is done as well: its losses are NaN and its record says where.
    """
    from memo.lm.train import train_split
    from pipelines.workspace import open_workspace

    workspace = open_workspace(root)
    path = workspace.layout.losses(split)
    if workspace.split_done(split):
        return str(path)
    setup, device = _prepare(root, workspace.corpus_fingerprint(), _stamp(workspace.layout.config))
    checkpoints = _checkpoints(workspace, split, device)
    who = {"split": split, "attempt": attempt, "pid": os.getpid(), "host": this_host(), "worker": worker}

    def log(event: str, **fields: Any) -> None:
        append(workspace.layout.log(split), event, **who, **fields)

    log("start")
    try:
        documents = _documents_of(workspace, split)
        result = train_split(setup, split, documents, device, lambda said: log(**_as_event(said)), checkpoints)
        _publish(workspace, split, result, device)
    except DivergedError as error:
        _publish_diverged(workspace, split, error, device)
        log("diverged", error=str(error))
    except Exception as error:
        if workspace.split_done(split):  # by another process, which then cleared the checkpoints of both
            log("done", seconds=0.0)
            return str(path)
        log("error", error=_told(error), traceback=traceback.format_exc())
        raise
    else:
        log("done", seconds=round(result.seconds, 3))
    checkpoints.clear()
    return str(path)


def _as_event(said: dict[str, Any]) -> dict[str, Any]:
    return {"event": "step", **{key: value for key, value in said.items() if key != "split"}}


def _stamp(config: Path) -> int:
    return config.stat().st_mtime_ns


@lru_cache(maxsize=1)
def _prepare(root: Path, corpus: str, stamp: int) -> "tuple[Setup, Device]":
    """What all splits of a campaign share, read once per process and again when the campaign changed."""
    from safetensors.numpy import load_file

    from memo.lm import device, tokens
    from memo.lm.train import Setup
    from memo.store import verified
    from pipelines.workspace import open_workspace

    workspace = open_workspace(root)
    config = workspace.config
    verified(workspace.layout.tokens)
    arrays = load_file(workspace.layout.tokens)
    tokenizer = tokens.load_tokenizer(workspace.layout.tokenizer)
    setup = Setup(
        tokens=arrays["tokens"],
        offsets=arrays["offsets"],
        context_tokens=config.context_tokens,
        bos=tokens.window_start_id(tokenizer),
        vocab_size=tokens.vocabulary_size(tokenizer),
        model=config.model,
        training=config.training,
        seed=config.seed,
    )
    return setup, device.choose(config.training.device, config.training.precision)


def _documents_of(workspace: "Workspace", split: int) -> Any:
    """Columns of the texts that the split trains on: (n,); a canary stands as often as it has copies."""
    import numpy as np
    import pyarrow.parquet as pq

    from memo.splits import read_bits
    from memo.store import verified

    block, row = divmod(split, workspace.config.design.block_size)
    path = workspace.layout.block(block)
    verified(path)
    controls = pq.read_table(workspace.layout.controls, columns=["column", "copies"])
    copies = np.where(read_bits(path, "controls")[row], controls["copies"].to_numpy(), 0)
    canaries = np.repeat(controls["column"].to_numpy(), copies)
    return np.concatenate([np.flatnonzero(read_bits(path, "included")[row]), canaries])


def _checkpoints(workspace: "Workspace", split: int, device: "Device") -> "Checkpoints":
    from memo.lm.checkpoint import Checkpoints

    minutes = workspace.config.training.checkpoint_minutes
    return Checkpoints(
        workspace.layout.checkpoints(split),
        workspace.loss_inputs(split),
        device,
        interval_s=None if minutes is None else 60.0 * minutes,
    )


def _publish(workspace: "Workspace", split: int, result: "SplitResult", device: "Device") -> None:
    from memo.lm.weights import save_weights
    from memo.store import publishing

    layout = workspace.layout
    if workspace.config.training.keep_weights:
        with publishing(layout.weights(split), workspace.loss_inputs(split)) as folder:
            save_weights(result.model, layout.tokenizer, folder)
    notes = {
        "steps": result.steps,
        "trained_tokens": result.trained_tokens,
        "padding_share": round(result.padding_share, 4),
        "seconds": round(result.seconds, 3),
    }
    _publish_losses(workspace, split, {"loss": result.loss, "n_correct": result.n_correct}, notes, device)


def _publish_diverged(workspace: "Workspace", split: int, error: DivergedError, device: "Device") -> None:
    """No evaluation of a model that diverged counts, the early ones neither: they are of a training that is no good."""
    import numpy as np
    from safetensors import safe_open

    with safe_open(workspace.layout.tokens, framework="numpy") as file:
        texts = file.get_slice("offsets").get_shape()[0] - 1
    nothing = np.full((len(workspace.config.training.evaluations), texts), np.nan, dtype=np.float32)
    where = {"diverged": {"epoch": error.epoch, "step": error.step, "message": str(error)}}
    _publish_losses(workspace, split, {"loss": nothing, "n_correct": nothing}, where, device)


def _publish_losses(
    workspace: "Workspace", split: int, tensors: "dict[str, Any]", notes: dict[str, Any], device: "Device"
) -> None:
    from safetensors.numpy import save

    from memo.lm.device import describe
    from memo.splits import metadata
    from memo.store import publishing

    content = {"split": split, "epochs": workspace.config.training.evaluations}
    notes = {"machine": describe(device), **notes}
    with publishing(workspace.layout.losses(split), workspace.loss_inputs(split), notes) as path:
        # Not `save_file`: where a disk is full it raises an error of its own without the number that says so.
        path.write_bytes(save(tensors, metadata=metadata(content)))


if __name__ == "__main__":
    main()
