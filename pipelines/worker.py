"""What runs inside a Dask worker: the task that trains splits, and the child processes it hands the work to.

A task trains one split or one stack, skips what is done, and returns the path of the losses. Each thread of a worker
has a child process of its own (see `pipelines.child`), which lives on for the next task and exits when its pipe closes.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memo import __version__
from memo.errors import MemoError, UsageError
from memo.lm.environment import training_environment


class ProcessDied(MemoError):
    """The training process ended without an answer; another try may do better."""


class MachineError(MemoError):
    """The disk or the machine is at fault, not the split: every split would fail."""


class MemoryFullError(MemoError):
    """A stack of so many models does not fit the memory of the device; fewer may."""


# By the `kind` of a child's answer; any other is the fault of the work itself.
ERRORS: dict[str, type[MemoError]] = {
    "usage": UsageError,
    "machine": MachineError,
    "crash": ProcessDied,
    "memory": MemoryFullError,
}


class Child:
    """A training process of this worker."""

    def __init__(self) -> None:
        environment = training_environment(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self.coordinator = ""  # for which it works at the moment
        # -P: a folder named `pipelines` where the user stands must not be taken for this package.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipelines.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sends a request and waits for its answer; raises `ProcessDied` if the process ends instead."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ProcessDied("the training process has no pipes")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise ProcessDied(f"the training process ended with {_exit(self._process.wait())}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Closes the pipe, on which the process exits."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def kill(self) -> None:
        """Ends it in the middle of its work; whoever waits for its answer hears of it."""
        self._process.kill()


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


_idle: list[Child] = []
_busy: list[Child] = []
_lock = threading.Lock()  # a worker may have several threads


def train_splits(root: str, splits: Sequence[int], attempt: int, version: str, coordinator: str) -> str:
    """The task: trains one split, or a stack of several, in a child process of this worker.

    coordinator: a name of the process that asks, for `stop_training`. Returns the path of the first one's losses.

    Raises `UsageError` where this worker can train no split at all, `MachineError` where the disk is at fault,
    `ProcessDied` where the process went, `MemoryFullError` where a stack is too wide, and `MemoError` for the rest.
    """
    request = {"root": root, "splits": list(splits), "attempt": attempt, "worker": _address()}
    return str(_answer(root, request, version, coordinator)["path"])


def stack_width(root: str, splits: int, version: str, coordinator: str) -> tuple[int, str]:
    """The task: how many of so many splits to train side by side on this worker, and why. Raises as `train_splits`."""
    answer = _answer(root, {"root": root, "width_for": splits}, version, coordinator)
    return int(answer["width"]), str(answer["reason"])


def _answer(root: str, request: dict[str, Any], version: str, coordinator: str) -> dict[str, Any]:
    """What a child process says to a request; its errors are raised."""
    if version != __version__:
        raise UsageError(f"worker on {_here()}: expected memo {version}, found {__version__}; install the same")
    if not (Path(root) / "campaign.yaml").exists():
        raise UsageError(f"worker on {_here()} does not see {root}: the campaign directory must be on a shared disk")
    child = _take()
    try:
        child.coordinator = coordinator
        answer = child.ask(request)
    except BaseException:
        _forget(child)
        child.kill()
        raise
    if answer.get("kind") in ("crash", "memory"):
        _forget(child)  # whatever went wrong in it may still be wrong
        child.close()
    else:
        _give_back(child)
    if "error" not in answer:
        return answer
    raise ERRORS.get(answer["kind"], MemoError)(answer["error"])


def stop_training(coordinator: str) -> None:
    """Ends the child processes that train for this coordinator; the next task gets a fresh one."""
    with _lock:
        for child in _busy:
            if child.coordinator == coordinator:
                child.kill()


def _take() -> Child:
    with _lock:
        if _idle:
            child = _idle.pop()
        else:
            child = Child()
            atexit.register(child.close)
        _busy.append(child)
    return child


def _give_back(child: Child) -> None:
    with _lock:
        _busy.remove(child)
        _idle.append(child)


def _forget(child: Child) -> None:
    with _lock:
        _busy.remove(child)
    atexit.unregister(child.close)


def _here() -> str:
    return f"{os.uname().nodename} ({_address()})"


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)
