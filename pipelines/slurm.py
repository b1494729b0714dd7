"""Workers as SLURM jobs, through dask-jobqueue.

    with slurm_client(settings, folder, tasks=64, reporter=reporter) as client:
        client.submit(...)

The scheduler runs in this process and listens on the interface that the settings name. What reaches a Dask scheduler is
unpickled, so both sides speak TLS with credentials made for this run; the workers read theirs from a private folder
beside the job logs, which must be on a file system that the jobs see. The job script is shown before the first job is
submitted. Jobs that end early are replaced (see `pipelines.slurm_jobs`), all jobs are cancelled at the end.
"""

import contextlib
import copy
import logging
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo.cluster_settings import Slurm
from memo.errors import UsageError
from memo.store import temporary_path
from pipelines.progress import Reporter
from pipelines.slurm_jobs import Jobs
from pipelines.slurm_text import sbatch_path

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

NAME = "memo"
EXTRA = "pip install 'counterfactual-memo[slurm]'"
# A worker whose scheduler does not answer ends its job after this time, s: nothing is left of a memo that was killed.
DEATH_TIMEOUT_S = 60
ROLES = ("client", "scheduler", "worker")
KINDS = ("cert", "key")


def check_slurm(settings: Slurm) -> None:
    """Raises `UsageError` for what would stop `slurm_client` on this machine; answers at once."""
    import importlib.util

    import psutil

    interfaces = sorted(psutil.net_if_addrs())
    if settings.interface not in interfaces:
        raise UsageError(
            "cluster.slurm.interface: expected the network interface of this machine that the jobs can reach, one of "
            f"{', '.join(interfaces)}; found {settings.interface or 'none'}"
        )
    missing = [name for name in ("dask_jobqueue", "cryptography") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"cluster.slurm needs {' and '.join(missing)}, which is not installed: {EXTRA}")
    absent = [program for program in ("sbatch", "squeue", "scancel") if shutil.which(program) is None]
    if absent:
        raise UsageError(
            f"cluster.slurm: expected SLURM's commands, {', '.join(absent)} not found; start memo where they are, for "
            "instance on a login node, or leave out cluster.slurm"
        )


def load_jobqueue() -> None:
    """Imports dask-jobqueue, which makes Ctrl-C a silent exit with code 0, and undoes that.

    To be called before its settings are changed: the import brings their defaults along.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    import dask_jobqueue  # noqa: F401

    signal.signal(signal.SIGINT, interrupt)


@contextlib.contextmanager
def slurm_client(settings: Slurm, folder: Path, tasks: int, reporter: Reporter) -> "Iterator[Client]":
    """A client whose workers are at most `tasks` SLURM jobs; their logs go to `folder`.

    Raises `UsageError` where the settings or the machine are not right or sbatch refuses. Where jobs keep ending before
    their worker comes, the client is closed, and the end of the block raises `MemoError` with the reason.
    """
    check_slurm(settings)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    import dask
    from distributed import Client

    load_jobqueue()

    with (
        dask.config.set(_dask_settings()),
        _credentials(folder) as private,
        _cluster(settings, folder, private) as cluster,
    ):
        reporter.line(f"slurm: the scheduler listens on {cluster.scheduler_address}; each job runs")
        for line in cluster.job_script().replace("dummy-name", f"{NAME}-0").splitlines():
            reporter.line(f"    {line}")
        wanted = min(settings.jobs, tasks)
        with Client(cluster) as client, Jobs(cluster, client, wanted, folder, reporter, private.touch):
            yield client


def _dask_settings() -> dict[str, object]:
    # The campaign counts deaths of workers itself: it knows which model was in training.
    counting = {"distributed.scheduler.allowed-failures": 0}
    # A user's jobqueue.yaml speaks where an argument is None. What no campaign records must not enter a job.
    silenced = ("queue", "account", "project", "local-directory", "extra", "env-extra", "job-extra", "header-skip")
    return {**counting, **{f"jobqueue.slurm.{name}": None for name in silenced}}


def _cluster(settings: Slurm, folder: Path, private: Path) -> Any:
    """A `SLURMCluster` without jobs; private: the folder of the credentials."""
    from dask_jobqueue import SLURMCluster

    gpus = settings.gpus
    return SLURMCluster(
        name=NAME,
        job_cls=_job_class(),
        security=_security(private),
        protocol="tls://",
        interface=settings.interface,
        # The pages of a dashboard ask for no credentials: this machine alone sees them, here and beside the workers.
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
        silence_logs=logging.CRITICAL,
        queue=settings.queue,
        account=settings.account,
        walltime=settings.walltime,
        job_cpu=settings.cores,
        job_mem=settings.memory,
        job_name=NAME,
        job_extra_directives=[
            f"--output={sbatch_path(folder, 'slurm-%j.log')}",
            "--open-mode=append",
            *([f"--gres=gpu:{gpus}"] if gpus else []),
            *settings.directives,
        ],
        job_directives_skip=[],
        job_script_prologue=list(settings.prologue),
        shebang="#!/usr/bin/env bash",
        # -P: a folder named `pipelines` where the user stands must not be taken for this package.
        python=f"{shlex.quote(sys.executable)} -P",
        worker_command="distributed.cli.dask_worker",
        worker_extra_args=[
            *("--dashboard-address", "127.0.0.1:0", "--no-dashboard"),
            *(["--resources", f"GPU={gpus}"] if gpus else []),
        ],
        cores=1,  # one thread, whatever SLURM books
        processes=1,
        memory=settings.memory,
        nanny=True,
        death_timeout=DEATH_TIMEOUT_S,
    )


def _job_class() -> type[Any]:
    """dask-jobqueue's job, with what it writes into the script quoted, and an sbatch that refuses remembered."""
    from dask_jobqueue.slurm import SLURMJob
    from distributed.core import Status

    class Job(SLURMJob):  # type: ignore[misc]  # its package is untyped
        worker_process_memory = "0"  # no limit of Dask's: the memory is the training process's, which SLURM watches
        refusal: str | None = None

        def __init__(self, *arguments: Any, security: "Security", **settings: Any) -> None:
            super().__init__(*arguments, security=_quoted(security), **settings)

        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, OSError, ValueError) as error:
                # Raised, it would be a traceback in Dask's log and nothing else; `Jobs` looks at it.
                said = str(error).partition("stderr:\n")[2] or str(error)
                self.refusal = " ".join(said.split())
                self.status = Status.running

        async def close(self) -> None:
            await super().close()
            self.status = Status.closed  # the cluster insists on it, and dask-jobqueue leaves it out

    return Job


def _quoted(security: "Security") -> "Security":
    """The same with paths that a shell takes for paths."""
    security = copy.copy(security)
    for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
        setattr(security, name, shlex.quote(getattr(security, name)))
    return security


@contextlib.contextmanager
def _credentials(folder: Path) -> Iterator[Path]:
    """A folder that nobody else may open with a key and a certificate of this run, deleted at the end.

    It is named like every temporary of memo, so that the next run clears what a killed one left.
    """
    from distributed.security import Security

    made = Security.temporary().get_tls_config_for_role("worker")  # one pair for all roles
    private = temporary_path(folder / "credentials")
    private.mkdir(mode=0o700)
    try:
        for kind in KINDS:
            path = private / f"{kind}.pem"
            path.touch(mode=0o600)
            path.write_text(made[kind], encoding="ascii")
        yield private
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _security(private: Path) -> "Security":
    """Who does not show a certificate signed with this key is not spoken to, on either side."""
    from distributed.security import Security

    paths = {kind: str(private / f"{kind}.pem") for kind in KINDS}
    settings = {f"tls_{role}_{kind}": path for role in ROLES for kind, path in paths.items()}
    return Security(require_encryption=True, tls_ca_file=paths["cert"], **settings)
