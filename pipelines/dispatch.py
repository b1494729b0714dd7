"""Hands splits to workers, one job per free slot, and finds out who is to blame when something dies.

A worker that dies takes its task along, and Dask gives the task to another worker. A split whose process dies again and
again is to blame itself: after the retries it has failed, and the others go on. A stack is cut in halves instead, until
the split is alone. Only as many tasks are out as there are slots, because Dask also blames those that merely wait in
the queue of a worker that dies.

Whether a split is done is read from the disk, never from what a worker answered.
"""

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memo import __version__
from memo.errors import MemoError, UsageError
from memo.layout import checkpoint_steps
from memo.version import full_version
from pipelines import stacks, training_log
from pipelines.job import Job
from pipelines.progress import Bar, Reporter
from pipelines.worker import MachineError, MemoryFullError, ProcessDied, stack_width, stop_training, train_splits
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from distributed import Client, Future

POLL_S = 0.5
STOP_S = 5.0  # for workers to end their training when the coordinator is stopped
UNBLAMED = 10  # deaths of workers that a split may survive without having been seen at work on one of them
MEET_S = 10.0  # for workers to say what they have installed
LATE_S = 60.0  # until a network file system shows what a worker on another host has written
NEWS_S = 60.0  # between two lines about workers that are awaited


@dataclass
class Dispatcher:
    """Trains splits on the workers of one client."""

    client: "Client"
    workspace: Workspace
    reporter: Reporter
    revive: Callable[[], None]  # asks for workers that have gone; nothing to do for a scheduler of the user's
    queue: deque[Job] = field(default_factory=deque)
    running: "dict[Future, Job]" = field(default_factory=dict)
    asked: "Future | None" = None  # how wide stacks are to be
    failed: dict[int, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])  # of this coordinator, on the workers
    begun: float = field(default_factory=time.time)
    met: set[str] = field(default_factory=set)  # addresses of workers that were asked whether they can train
    idle_since: float | None = None
    last_news: float = 0.0

    def train(self, todo: list[int], total: int, bar: Bar) -> dict[int, str]:
        """Split -> message, for the splits that failed. total: models that the bar counts, those already done too.

        Raises `UsageError` or `MachineError` where no split can succeed, `MemoError` where the workers are lost.
        """
        wanted = set(todo)
        try:
            together, how = stacks.plan(self.workspace, todo, self._ask_width)
            if how is not None:
                self.reporter.line(f"train: {how}")
            self.queue.extend(Job(splits) for splits in together)
            while self.queue or self.running:
                self._submit()
                for future in self._finished():
                    self._take_answer(future, self.running.pop(future))
                left = sum(len(wanted & set(job.splits)) for job in (*self.queue, *self.running.values()))
                bar.update(total - left - len(self.failed) + sum(self._shares(wanted)))
        except BaseException:
            self._stop()
            raise
        return self.failed

    def _ask_width(self, splits: int) -> tuple[int, str]:
        """How many models a worker would train side by side, and why. Only a GPU gains from more than one.

        Tried again where a worker or its process dies over it, like a split. Raises `MemoError` after the retries.
        """
        training, tries, died = self.workspace.config.training, 1 + self.workspace.config.cluster.retries, ""
        for attempt in range(1, tries + 1):
            resources = self._some_slots()
            if training.stack == "auto" and resources is None and training.device != "cuda":
                return 1, ""  # on a CPU, where nobody expects a stack
            key = f"width-{self.name}-{attempt}"
            self.asked = self._hand_out(stack_width, key, resources, self._root, splits)
            while not self.asked.done():
                self._some_slots()
                time.sleep(POLL_S)
            died = self._death_of(self.asked)
            if not died:
                answer: tuple[int, str] = self.asked.result()
                return answer
            if attempt < tries:
                self.reporter.line(f"train: before the first split: {died}; it is tried again")
        raise MemoError(
            f"no model was trained: finding out how many to train side by side, {died} ({tries} of {tries} tries); the "
            "same command tries again, training.stack=1 trains one at a time"
        )

    def _some_slots(self) -> dict[str, float] | None:
        """Waits until there is a worker; what a task needs of it."""
        while True:
            slots, resources = self._slots()
            self._expect_workers(slots)
            if slots:
                return resources

    def _death_of(self, future: "Future") -> str:
        """How the worker or the process that was to answer ended; empty where there is an answer. Raises the rest."""
        from distributed.scheduler import KilledWorker

        if future.cancelled():
            raise self._lost()
        error = future.exception()
        if isinstance(error, KilledWorker):
            return f"the worker {error.last_worker.address} died"
        if error is not None and not isinstance(error, ProcessDied):
            raise error
        return str(error or "")

    @property
    def _root(self) -> str:
        return str(self.workspace.layout.root.resolve())

    def _hand_out(
        self, task: Callable[..., Any], key: str, resources: dict[str, float] | None, *arguments: Any
    ) -> "Future":
        return self.client.submit(
            task, *arguments, __version__, self.name, key=key, resources=resources, pure=False, retries=0
        )

    def _submit(self) -> None:
        slots, resources = self._slots()
        self._expect_workers(slots)
        while self.queue and len(self.running) < slots:
            job = self.queue.popleft()
            job.attempts += 1
            # One scheduler may serve several coordinators; a key that was tried would give the old answer.
            key = f"train-{self.name}-{job.first:05d}-{len(job.splits)}-{job.attempts}"
            self.running[self._hand_out(train_splits, key, resources, self._root, job.splits, job.attempts)] = job

    def _slots(self) -> tuple[int, dict[str, float] | None]:
        """How many splits can train at once, and what each needs of a worker."""
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, RuntimeError) as error:
            raise self._lost() from error
        self._meet(set(workers))
        gpus = sum(int(worker["resources"].get("GPU", 0)) for worker in workers.values())
        if gpus:
            return gpus, {"GPU": 1}
        return sum(worker["nthreads"] for worker in workers.values()), None

    def _meet(self, workers: set[str]) -> None:
        """Raises `UsageError` for a new worker, or a scheduler, that has no memo or other source of it.

        Without this a worker that cannot read its task closes, and the campaign waits for workers.
        """
        new = workers - self.met
        if not new:
            return
        answers = within(MEET_S, lambda: self.client.run(installed(), workers=sorted(new), on_error="return"))
        if not self.met:
            scheduler = within(MEET_S, lambda: self.client.run_on_scheduler(installed()))
            answers = {**(answers or {}), "the scheduler": scheduler or full_version()}
        self.met |= new
        for where, version in (answers or {}).items():
            if version != full_version():
                found = version if isinstance(version, str) else "none"
                raise UsageError(f"{where}: expected memo {full_version()}, found {found}; install the same memo there")

    def _expect_workers(self, slots: int) -> None:
        """Waits for workers that have gone, for as long as the campaign file says."""
        now = time.monotonic()
        if slots:
            self.idle_since = None
            return
        self.revive()
        self.idle_since = self.idle_since or now
        cluster = self.workspace.config.cluster
        patience = None if cluster.slurm is not None else cluster.patience_minutes
        waited = now - self.idle_since
        if patience is not None and waited > 60 * patience:
            raise MemoError(
                f"no worker for {waited:.0f} s; start workers for this scheduler (dask worker), then the same command "
                "goes on; cluster.patience_minutes says how long to wait"
            )
        if waited > POLL_S and now - self.last_news > NEWS_S:
            self.last_news = now
            self.reporter.line("train: no worker at the moment; waiting for one")
        if not self.running:
            time.sleep(POLL_S)

    def _finished(self) -> "set[Future]":
        from distributed import wait

        if not self.running:
            return set()
        try:
            return wait(list(self.running), timeout=POLL_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return set()
        except Exception as error:
            # Futures are cancelled by nobody but a client that lost its scheduler.
            if self.client.status != "running" or any(future.cancelled() for future in self.running):
                raise self._lost() from error
            raise

    def _lost(self) -> MemoError:
        return MemoError(
            "lost the connection to the scheduler; start it and its workers again, then the same command goes on"
        )

    def _take_answer(self, future: "Future", job: Job) -> None:
        from distributed.scheduler import KilledWorker

        if future.cancelled():
            raise self._lost()
        error = future.exception()
        if error is not None and self._all_done(job):
            return  # another coordinator's worker finished it
        if isinstance(error, UsageError | MachineError):
            raise error
        if isinstance(error, KilledWorker):
            self._blame_or_not(error, job)
        elif isinstance(error, ProcessDied):
            self._blame(job, str(error))
        elif isinstance(error, MemoryFullError):
            self._halve(job, str(error))
            wide = [other for other in self.queue if len(other.splits) >= len(job.splits) > 1]
            for other in wide:
                self.queue.remove(other)
                self._halve(other, "a stack of as many was too wide")
        elif error is not None:
            self._give_up(job, " ".join(str(error).split()))
        elif not self._appears(job):
            self._blame(job, "the worker says that it is done, but its losses are not on this disk")

    def _all_done(self, job: Job) -> bool:
        return all(self.workspace.split_done(split) for split in job.splits)

    def _appears(self, job: Job) -> bool:
        """Whether its splits are done, as seen from here: a network file system may show new files late."""
        folder = self.workspace.layout.losses(job.first).parent
        deadline = time.monotonic() + LATE_S
        while not self._all_done(job):
            if time.monotonic() > deadline or not folder.is_dir():
                return False
            time.sleep(POLL_S)
            list(folder.iterdir())  # asks the server again
        return True

    def _blame_or_not(self, death: Any, job: Job) -> None:
        """A job is to blame for the death of a worker if it was the one that was trained there."""
        address = death.last_worker.address
        if training_log.read(self.workspace.layout.log(job.first)).last.get("worker") == address:
            self._blame(job, f"the worker {address} died")
            return
        job.unblamed += 1
        if job.unblamed > UNBLAMED:
            self._fail(job, f"{UNBLAMED} workers died before they began with it")
        else:
            self.queue.append(job)

    def _blame(self, job: Job, message: str) -> None:
        """Counts a try that ended without a result, unless it left a checkpoint further on than those before."""
        reached = max(checkpoint_steps(self.workspace.layout.checkpoints(job.first)), default=0)
        job.tries = 0 if reached > job.reached else job.tries + 1
        job.reached = reached
        # A part of a stack that was cut is cut again at once: who is to blame for the whole is in one of its halves.
        allowed = 0 if job.part and len(job.splits) > 1 else self.workspace.config.cluster.retries
        if job.tries > allowed:
            self._give_up(job, f"{message} ({job.tries} of {job.tries} tries)")
            return
        self._log(job, "retry", message)
        self.reporter.line(f"train: {job.name}: {message}; it is tried again")
        self.queue.append(job)

    def _give_up(self, job: Job, message: str) -> None:
        """One split has failed. Of a stack the half without the one that is to blame can still succeed."""
        if len(job.splits) == 1:
            self._fail(job, message)
        else:
            self._halve(job, message)

    def _halve(self, job: Job, message: str) -> None:
        self._log(job, "retry", message)
        self.reporter.line(f"train: {job.name}: {message}; trained as two halves")
        self.queue.extend(Job(part, part=True) for part in stacks.halves(self.workspace, job.splits, message))

    def _fail(self, job: Job, message: str) -> None:
        self.failed |= dict.fromkeys(job.splits, message)
        self._log(job, "failed", message)
        self.reporter.line(f"train: {job.name} failed: {message}")

    def _log(self, job: Job, event: str, message: str) -> None:
        for split in job.splits:
            training_log.append(self.workspace.layout.log(split), event, split=split, error=message)

    def _shares(self, wanted: set[int]) -> list[float]:
        """How much of each split in training is trained."""
        now = time.time()
        splits = [split for job in self.running.values() for split in job.splits if split in wanted]
        logs = [training_log.read(self.workspace.layout.log(split)) for split in splits]
        return [log.share for log in logs if log.is_running(now) and log.last["time"] > self.begun]

    def _stop(self) -> None:
        """Ends what is in training for this campaign, on workers that live on as well."""
        if self.client.status != "running":
            return

        def stop() -> None:
            self.client.cancel([*self.running, *([self.asked] if self.asked is not None else [])])
            self.client.run(stop_training, self.name, on_error="ignore")

        within(STOP_S, stop)
        with contextlib.suppress(OSError):  # a full disk may be why it stops
            for job in self.running.values():
                for split in job.splits:
                    training_log.append(self.workspace.layout.log(split), "stopped", split=split)


def installed() -> Callable[[], str]:
    """A function that says which memo a process has. It is sent as code, because the process may have none."""

    def version() -> str:
        try:
            from memo import __version__ as found
        except ImportError:
            return "none"
        try:
            from memo.version import full_version
        except ImportError:
            return found
        return full_version()

    return version


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """The result of a call, or None where it takes too long: a worker that hangs must not hold up the coordinator."""
    found: list[Any] = []

    def run() -> None:
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            found.append(call())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None
