"""The process that trains: started by a worker, lives as long as it, and exits when its pipe closes.

    python -P -m pipelines.child        JSON requests on standard input, JSON answers on standard output, a line each

Training has a process of its own because torch holds the interpreter's lock for long enough that a scheduler takes the
worker for dead, and because a crash in native code must not take the worker along. Imports are paid once.
"""

import json
import os
import queue
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memo.errors import MemoError, UsageError

if TYPE_CHECKING:
    from memo.lm.device import Device
    from memo.lm.train import Setup, SplitResult
    from pipelines.workspace import Workspace


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
    try:
        return {"path": train(Path(request["root"]), request["split"])}
    except UsageError as error:
        return {"error": str(error), "usage": True}
    except MemoError as error:
        return {"error": str(error)}
    except Exception as error:
        import traceback

        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def train(root: Path, split: int) -> str:
    """Trains one split, unless it is done, and publishes its losses. Returns the path of the losses."""
    from memo.lm.train import train_split
    from pipelines.workspace import open_workspace

    workspace = open_workspace(root)
    path = workspace.layout.losses(split)
    if workspace.split_done(split):
        return str(path)
    setup, device = _prepare(root, workspace.corpus_fingerprint(), _stamp(workspace.layout.config))
    log_path = workspace.layout.log(split)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("w", encoding="utf-8") as log:
        _log(log, {"event": "start", "split": split, "pid": os.getpid()})
        try:
            documents = _documents_of(workspace, split)
            result = train_split(setup, split, documents, device, lambda event: _log(log, {"event": "step", **event}))
            _publish(workspace, split, result, device)
        except Exception as error:
            _log(log, {"event": "failed", "split": split, "error": f"{type(error).__name__}: {error}"})
            raise
        _log(log, {"event": "done", "split": split, "seconds": round(result.seconds, 3)})
    return str(path)


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
    """Positions of the documents that the split trains on: (n,)."""
    import numpy as np

    from memo.splits import read_bits
    from memo.store import verified

    block, row = divmod(split, workspace.config.design.block_size)
    path = workspace.layout.block(block)
    verified(path)
    return np.flatnonzero(read_bits(path, "included")[row])


def _publish(workspace: "Workspace", split: int, result: "SplitResult", device: "Device") -> None:
    from safetensors.numpy import save_file

    from memo.lm.checkpoint import save_weights
    from memo.lm.device import describe
    from memo.splits import metadata
    from memo.store import publishing

    layout, config = workspace.layout, workspace.config
    if config.training.keep_weights:
        save_weights(result.model, layout.tokenizer, layout.weights(split))
    notes = {
        "machine": describe(device),
        "steps": result.steps,
        "trained_tokens": result.trained_tokens,
        "padding_share": round(result.padding_share, 4),
        "seconds": round(result.seconds, 3),
    }
    content = {"split": split, "epochs": config.training.evaluations}
    with publishing(layout.losses(split), workspace.loss_inputs(split), notes) as path:
        tensors = {"loss": result.loss, "n_correct": result.n_correct}
        save_file(tensors, path, metadata=metadata(content))


def _log(log: IO[str], event: dict[str, Any]) -> None:
    log.write(json.dumps({"time": round(time.time(), 3), **event}) + "\n")
    log.flush()


if __name__ == "__main__":
    main()
