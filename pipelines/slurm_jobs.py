"""Keeps the SLURM jobs of a campaign going: replaces those that end, releases idle ones, gives up on a dead end.

dask-jobqueue submits jobs and forgets them. A job that sbatch refuses, that ends before its worker comes or that
reaches its time limit would leave the campaign waiting for ever.
"""

import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from memo.errors import MemoError, UsageError
from pipelines.progress import Reporter

if TYPE_CHECKING:
    from distributed import Client

CHECK_S = 10.0
COMMAND_S = 20.0
GIVE_UP = 3  # jobs in a row that end before their worker comes
IDLE_CHECKS = 6  # a worker that had nothing to do at so many checks is not needed any more
TAIL_BYTES = 4096


class Jobs:
    """A context in which so many jobs run, watched from a thread of its own.

    Entering raises `UsageError` where sbatch refuses. Where jobs keep ending before a worker comes, the client is
    closed, on which whoever waits for it stops, and the end of the block raises `MemoError` with the reason.
    """

    def __init__(
        self,
        cluster: Any,
        client: "Client",
        wanted: int,
        folder: Path,
        reporter: Reporter,
        keep: Callable[[], None],
    ) -> None:
        """folder: where the jobs write their logs. keep: called at every check, as a sign of life."""
        self._cluster, self._client, self._wanted = cluster, client, wanted
        self._folder, self._reporter, self._keep = folder, reporter, keep
        self._failures = 0
        self._arrived: set[str] = set()
        self._idle: Counter[str] = Counter()  # worker -> checks in a row at which it had nothing to do
        self._failure: str | None = None
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memo-slurm-jobs", daemon=True)

    def __enter__(self) -> None:
        self._cluster.scale(self._wanted)
        self._cluster.sync(self._submitted)
        self._look()
        if self._failure is not None:
            raise UsageError(self._failure)
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None and (error is None or isinstance(error, Exception)):
            raise MemoError(self._failure) from error

    async def _submitted(self) -> None:
        await self._cluster

    def _watch(self) -> None:
        while self._failure is None and not self._stop.wait(CHECK_S):
            try:
                self._look()
            except Exception as error:  # a thread that dies in silence would leave the campaign waiting
                self._failure = f"unexpected {type(error).__name__} while watching the SLURM jobs: {error}"
        if self._failure is not None:
            self._client.close()

    def _look(self) -> None:
        self._keep()
        states = job_states()
        if states is None:
            return  # the controller is busy or restarts: nothing is known
        workers = {str(worker.name): worker for worker in list(self._cluster.scheduler.workers.values())}
        if workers.keys() - self._arrived:
            self._arrived |= workers.keys()
            self._failures = 0
        jobs = {str(name): job for name, job in dict(self._cluster.workers).items()}
        self._say(jobs, states, len(workers))
        ended = [name for name, job in jobs.items() if job.job_id not in states and name not in workers]
        for name in ended:
            if name not in self._arrived:
                self._count_failure(jobs[name])
        if self._failure is None:
            self._correct(len(jobs) - len(ended), ended, self._unneeded(workers))

    def _count_failure(self, job: Any) -> None:
        self._failures += 1
        if job.refusal is not None and (not self._arrived or self._failures >= GIVE_UP):
            self._failure = f"sbatch refused the job: {job.refusal}; see cluster.slurm in the campaign file"
        elif self._failures >= GIVE_UP:
            log = self._folder / f"slurm-{job.job_id}.log"
            self._failure = f"{self._failures} SLURM jobs in a row ended before their worker came: {last_line(log)}"

    def _unneeded(self, workers: dict[str, Any]) -> list[str]:
        """Workers without work for a while, where others have some: more workers than models are left."""
        idle = [name for name, worker in workers.items() if not worker.processing]
        self._idle = Counter({name: self._idle[name] + 1 for name in idle})
        if len(idle) == len(workers):
            return []
        return [name for name, checks in self._idle.items() if checks >= IDLE_CHECKS]

    def _correct(self, alive: int, ended: list[str], unneeded: list[str]) -> None:
        self._wanted = max(1, self._wanted - len(unneeded))
        if ended or unneeded:
            self._cluster.sync(self._cluster.scale_down, [*ended, *unneeded])
        if alive - len(unneeded) < self._wanted:
            self._cluster.scale(self._wanted)

    def _say(self, jobs: dict[str, Any], states: dict[str, str], workers: int) -> None:
        counts = Counter(states[job.job_id] for job in jobs.values() if job.job_id in states)
        text = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        text = f"slurm: jobs: {text or 'none'}; {workers} workers connected"
        if text != self._said:
            self._said = text
            self._reporter.line(text)


def job_states() -> dict[str, str] | None:
    """State of each of the user's jobs that waits, runs or is ending, by its number; None where SLURM does not say."""
    line = ["squeue", "--me", "--noheader", "--format=%A %T %r"]
    try:
        result = subprocess.run(line, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    except (subprocess.SubprocessError, OSError):
        return None
    states = {}
    for row in result.stdout.splitlines():
        number, state, reason = row.split(maxsplit=2)
        states[number] = state.lower() + (f" ({reason})" if state == "PENDING" and reason != "None" else "")
    return states


def last_line(log: Path) -> str:
    """The last words of a job, with the path of its log."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError as error:
        return f"no log ({log}: {error.strerror})"
    return f"{lines[-1] if lines else 'it said nothing'} (log: {log})"
