"""The Dask cluster and the tasks that run on it.

A task trains one split, skips it if it is done, and returns the path of its losses. It hands the work to a child
process (see `pipelines.child`) that lives as long as the worker.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from memo.config import Cluster
from memo.errors import MemoError, UsageError

if TYPE_CHECKING:
    from distributed import Client

CHILD_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    # glibc gives large tensors back to the system at every step and fetches them zeroed again. Told to keep them, a
    # Llama of width 64 on 2 cores spent 2 s in the system instead of 23, and 4.4 s a split instead of 7.4.
    **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(1 << 30)),
}
# Ctrl-C reaches every process of a terminal. It is for the coordinator alone, which stops the others in order; what a
# worker starts inherits this.
IGNORE_INTERRUPTS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"


def worker_count(cluster: Cluster, tasks: int) -> int:
    """Workers to start: one per core that this process may use, and no more than there are tasks."""
    if cluster.workers != "auto":
        return min(cluster.workers, tasks)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, tasks))


@contextlib.contextmanager
def local_client(workers: int) -> "Iterator[Client]":
    """A cluster on this machine: single-threaded worker processes, a scheduler that listens on 127.0.0.1 alone."""
    import logging

    import dask
    from distributed import Client, LocalCluster

    # Workers that go because the cluster is closed are not news.
    settings = {"distributed.worker.daemon": True, "distributed.admin.log-format": "%(name)s: %(message)s"}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=":0",  # any free port of this host: a second memo must not complain about the first
            memory_limit=0,  # the memory is the child's, which the worker's own limit does not see
            silence_logs=logging.CRITICAL,
            preload=IGNORE_INTERRUPTS,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


class Child:
    """A training process of this worker."""

    def __init__(self) -> None:
        environment = {**os.environ, **CHILD_ENVIRONMENT}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
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
        """Sends a request and waits for its answer; raises `MemoError` if the process ends instead."""
        if self._process.stdin is None or self._process.stdout is None:
            raise MemoError("the training process has no pipes")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise MemoError(f"the training process ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Closes the pipe, on which the process exits."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()


_child: Child | None = None


def train_split(root: str, split: int) -> str:
    """The task: trains one split in this worker's child process, returns the path of its losses."""
    global _child
    if _child is None:
        _child = Child()
        atexit.register(_child.close)
    try:
        answer = _child.ask({"root": root, "split": split})
    except MemoError:
        atexit.unregister(_child.close)
        _child = None  # the next task gets a fresh process
        raise
    if "error" in answer:
        raise (UsageError if answer.get("usage") else MemoError)(answer["error"])
    return str(answer["path"])
