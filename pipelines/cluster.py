"""Where the models are trained: workers on this machine, those of a scheduler that runs somewhere, or SLURM jobs.

    with connect(cluster, device, tasks, folder, reporter) as workers:
        workers.client.submit(...)

A scheduler executes what reaches its port. The local one listens on 127.0.0.1 alone.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo.cluster_settings import Cluster
from memo.errors import UsageError
from pipelines.progress import Reporter

if TYPE_CHECKING:
    from distributed import Client

# Ctrl-C reaches every process of a terminal. It is for the coordinator alone, which stops the others in order; what a
# worker starts inherits this.
IGNORE_INTERRUPTS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
CONNECT_S = 20.0
# Where every core trains, a worker that looks at itself a hundred times a second, as Dask's would, is in the way: 16
# models on two cores took 42.2 s with it and 39.8 s without.
CALM = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}


@dataclass(frozen=True)
class Workers:
    """A client, and a way to ask for workers that have gone."""

    client: "Client"
    revive: Callable[[], None]


@contextlib.contextmanager
def connect(cluster: Cluster, device: str, tasks: int, folder: Path, reporter: Reporter) -> Iterator[Workers]:
    """Workers for so many tasks; folder: where SLURM jobs write their logs."""
    _silence_dask()
    if cluster.scheduler is not None:
        reporter.line(f"train: {tasks} models to train on the workers of {cluster.scheduler}")
        with _client_of(cluster.scheduler) as client:
            yield Workers(client, lambda: None)
    elif cluster.slurm is not None:
        from pipelines.slurm import slurm_client

        with slurm_client(cluster.slurm, folder, tasks, reporter) as client:
            yield Workers(client, lambda: None)
    else:
        gpus = visible_gpus() if device != "cpu" else []
        number = worker_count(cluster, tasks, len(gpus))
        reporter.line(f"train: {tasks} models to train, {number} at a time; starting the workers")
        with local_cluster(number, gpus) as workers:
            yield workers


def _silence_dask() -> None:
    """What happens to workers is told by the dispatcher, in the campaign's own terms."""
    import distributed  # noqa: F401 - sets the levels of its loggers when it is imported

    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def worker_count(cluster: Cluster, tasks: int, gpus: int = 0) -> int:
    """Workers to start: one per GPU, else one per core that this process may use, and no more than there are tasks."""
    if cluster.workers != "auto":
        return min(cluster.workers, tasks)
    from dask.system import CPU_COUNT  # what affinity and control groups leave of the machine

    booked = int(os.environ.get("SLURM_CPUS_PER_TASK", CPU_COUNT))  # not every SLURM cluster binds jobs to their cores
    return max(1, min(gpus or min(CPU_COUNT, booked), tasks))


def visible_gpus() -> list[str]:
    """Names under which this process sees CUDA devices, for CUDA_VISIBLE_DEVICES; none without a driver."""
    if not Path("/proc/driver/nvidia").exists():
        return []
    # Asked in a process of its own: torch takes seconds and memory, and a CUDA context must not be inherited.
    ask = "import torch; print(torch.cuda.device_count())"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(index) for index in range(int(answer.stdout))]


@contextlib.contextmanager
def local_cluster(number: int, gpus: list[str]) -> Iterator[Workers]:
    """Worker processes of one thread on this machine, each with a GPU of its own where there are any."""
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    settings = {
        "distributed.worker.daemon": True,
        "distributed.admin.log-format": "%(name)s: %(message)s",
        # The dispatcher counts deaths itself: it knows which split was in training.
        "distributed.scheduler.allowed-failures": 0,
        **CALM,
    }
    scheduler = {"host": "127.0.0.1", "port": 0, "dashboard_address": ":0"}  # any free port: there may be a second memo
    specification = {
        index: {"cls": Nanny, "options": _worker_options(gpus[index % len(gpus)] if gpus else None)}
        for index in range(number)
    }
    with (
        dask.config.set(settings),
        SpecCluster(
            workers=specification,
            scheduler={"cls": Scheduler, "options": scheduler},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield Workers(client, lambda: cluster.scale(number))


def _worker_options(gpu: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "nthreads": 1,
        "memory_limit": 0,  # the memory is the child's, which the worker's own limit does not see
        "dashboard_address": None,
        "silence_logs": logging.CRITICAL,
        "preload": IGNORE_INTERRUPTS,
    }
    if gpu is not None:
        options |= {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": gpu}}
    return options


def _is_scheduler_file(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8"))["address"], str)
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextlib.contextmanager
def _client_of(scheduler: str) -> "Iterator[Client]":
    """A client of a running scheduler, by its address or by the file that it wrote."""
    from distributed import Client

    by_address = "://" in scheduler
    if not by_address and not _is_scheduler_file(Path(scheduler)):
        path = Path(scheduler)
        found = f"another file, {path}" if path.exists() else f"no file {path}"
        hint = f"; is it an address? then write tcp://{path.name}" if ":" in path.name and not path.exists() else ""
        raise UsageError(
            f"cluster.scheduler: expected an address (tcp://host:8786) or a scheduler file, found {found}{hint}"
        )
    where = {"address": scheduler} if by_address else {"scheduler_file": scheduler}
    try:
        client = Client(**where, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"cluster.scheduler: cannot reach {scheduler} ({reason}); start one with: dask scheduler --host 127.0.0.1"
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=5)
