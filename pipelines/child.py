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
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo.errors import DivergedError, MemoError, UsageError, os_error
from memo.processes import this_host
from pipelines.split_files import documents_of, kept_texts, publish
from pipelines.training_log import append

if TYPE_CHECKING:
    from memo.layout import Layout
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
    """What was asked for, or an error and its kind; see `pipelines.worker` for the kinds."""
    try:
        root = Path(request["root"])
        if "width_for" in request:
            return width(root, request["width_for"])
        return {"path": train(root, request["splits"], request["attempt"], request["worker"])}
    except UsageError as error:
        return {"error": str(error), "kind": "usage"}
    except MemoError as error:
        return {"error": str(error), "kind": "work"}
    except Exception as error:
        at_fault = isinstance(error, OSError) and error.errno in MACHINE_ERRORS
        kind = "machine" if at_fault else "memory" if _is_memory_full(error, request) else "crash"
        return {"error": _told(error), "kind": kind}


def _is_memory_full(error: Exception, request: dict[str, Any]) -> bool:
    """Whether fewer models at once would have had room."""
    from memo.lm.device import is_out_of_memory

    return is_out_of_memory(error) and len(request.get("splits", ())) > 1


def _told(error: Exception) -> str:
    if isinstance(error, MemoError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return os_error(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def width(root: Path, splits: int) -> dict[str, Any]:
    """How many of so many models to train side by side on this device, and why."""
    from memo.lm.batches import COHORT
    from memo.lm.device import describe
    from memo.lm.stack_width import plan_width
    from pipelines.workspace import open_workspace

    workspace = open_workspace(root)
    setup, device = _prepare(root, workspace.corpus_fingerprint(), _stamp(workspace.layout.config))
    found = plan_width(replace(setup, cohort=COHORT), device, workspace.config.training.stack, splits)
    where = describe(device)
    taken = f", {found.measured / 1e6:.1f} MB a model" if found.measured else ""
    return {"width": found.width, "reason": f"{found.reason} ({where['device_name']}{taken})"}


def train(root: Path, splits: Sequence[int], attempt: int = 1, worker: str = "") -> str:
    """Trains a split, or the members of a stack, unless all are done, and publishes their losses.

    Returns the path of the first one's losses. A split that diverges is done as well: its losses are NaN and its record
    says where. Of a stack some of whose members are done, because the process that published them died, all are trained
    again, and the others come out as they would have.
    """
    from memo.lm.batches import COHORT
    from memo.lm.stacks import train_together
    from pipelines.stacks import is_stacked
    from pipelines.workspace import open_workspace

    workspace = open_workspace(root)
    path = str(workspace.layout.losses(splits[0]))
    if _all_done(workspace, splits):
        return path
    setup, device = _prepare(root, workspace.corpus_fingerprint(), _stamp(workspace.layout.config))
    stacked = is_stacked(workspace, splits)
    setup = replace(setup, cohort=COHORT if stacked else 1)
    checkpoints = _checkpoints(workspace, splits, device)
    log = SplitLogs(workspace.layout, splits, attempt, worker)
    log("start", **({"stack": list(splits)} if len(splits) > 1 else {}))
    try:
        documents = [documents_of(workspace, split) for split in splits]
        by_split = dict(zip(splits, documents, strict=True))
        results = train_together(setup, splits, by_split.__getitem__, device, log.take, checkpoints)
        publish(workspace, dict(zip(splits, results, strict=True)), setup, device, stacked)
    except Exception as error:
        if _all_done(workspace, splits):  # by another process, which then cleared the checkpoints of both
            log("done", seconds=0.0)
            return path
        log("error", error=_told(error), traceback=traceback.format_exc())
        raise
    log.finish(results)
    checkpoints.clear()
    return path


def _all_done(workspace: "Workspace", splits: Sequence[int]) -> bool:
    return all(workspace.split_done(split) for split in splits)


class SplitLogs:
    """The logs of the splits that this process trains at once."""

    def __init__(self, layout: "Layout", splits: Sequence[int], attempt: int, worker: str) -> None:
        self._layout, self._splits = layout, splits
        self._who = {"attempt": attempt, "pid": os.getpid(), "host": this_host(), "worker": worker}

    def __call__(self, event: str, **fields: Any) -> None:
        """An event of all of them."""
        for split in self._splits:
            append(self._layout.log(split), event, split=split, **self._who, **fields)

    def take(self, said: dict[str, Any]) -> None:
        """What a training reports: of one split, or of all; tokens a second of each are an equal share."""
        event = str(said.get("event", "step"))
        fields = {key: value for key, value in said.items() if key not in ("event", "split", "splits")}
        if "tokens_per_s" in fields:
            fields["tokens_per_s"] /= len(self._splits)
        if "split" in said:
            # The ending is logged at the end, when the others of the stack have theirs and all is published.
            event = "broken" if event == "diverged" else event
            append(self._layout.log(said["split"]), event, split=said["split"], **self._who, **fields)
        else:
            self(event, **fields)

    def finish(self, results: "Sequence[SplitResult | DivergedError]") -> None:
        """How each ended."""
        for split, result in zip(self._splits, results, strict=True):
            if isinstance(result, DivergedError):
                append(self._layout.log(split), "diverged", split=split, **self._who, error=str(result))
            else:
                append(self._layout.log(split), "done", split=split, **self._who, seconds=round(result.seconds, 3))


def _stamp(config: Path) -> int:
    return config.stat().st_mtime_ns


@lru_cache(maxsize=1)
def _prepare(root: Path, corpus: str, stamp: int) -> "tuple[Setup, Device]":
    """What all splits of a campaign share, read once per process and again when the campaign changed."""
    import numpy as np
    from safetensors.numpy import load_file

    from memo.lm import device, tokens
    from memo.lm.model import hidden_width
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
        kept=kept_texts(workspace, np.diff(arrays["offsets"])),
    )
    width = hidden_width(config.model, setup.vocab_size, setup.context_tokens, setup.bos)
    return setup, device.choose(config.training.device, config.training.precision, width)


def _checkpoints(workspace: "Workspace", splits: Sequence[int], device: "Device") -> "Checkpoints":
    from memo.lm.checkpoint import Checkpoints

    minutes = workspace.config.training.checkpoint_minutes
    inputs = {str(split): workspace.loss_inputs(split) for split in splits}
    return Checkpoints(
        workspace.layout.checkpoints(splits[0]),
        inputs if len(splits) > 1 else inputs[str(splits[0])],
        device,
        interval_s=None if minutes is None else 60.0 * minutes,
    )


if __name__ == "__main__":
    main()
